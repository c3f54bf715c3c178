"""Runs the chain on Prefect: one task per step, named by the user's word for its stage, cached under the step's address.

The cache record lets the UI say *Cached* and a retry skip what is done; whether it is done the manifest alone decides.
"""

import hashlib
import time
from collections.abc import Callable
from uuid import UUID

import httpx
from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException
from prefect.filesystems import LocalFileSystem, RemoteFileSystem
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.evaluation import chains
from flows.examination import Examination
from flows.fusion import fusion
from flows.place import Place
from flows.plan import Planned, plan, plan_all
from flows.recipe import Recipe
from infra.errors import BadInput
from tasks.execution import Observer, ensure
from tasks.stage import Step

observers: list[Observer] = []  # who looks on besides Prefect: the terminal of a run started by hand
PROGRESS_EVERY = 2.0  # seconds between two updates of a progress artifact


def flow_run_name() -> str:
    """target · recipe · short fingerprint: what a person recognises in a list of runs."""
    recipe = Recipe.model_validate(flow_run.parameters["recipe"])
    return f"{recipe.name} · {fusion(recipe).fingerprint[:8]}"


@flow(
    name="fusion",
    flow_run_name=flow_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=64),
    persist_result=False,
    validate_parameters=True,
)
def fuse(recipe: Recipe) -> dict:
    """Fuses the recipe's sources into its target; returns the address of the report."""
    last, place = fusion(recipe), Place.from_settings()
    place.store.probe()
    submit(plan(last, place.store), place)
    publish(last, place)
    return {"stage": last.stage.name, "fingerprint": last.fingerprint}


@flow(
    name="ablation",
    flow_run_name="{matrix}",
    task_runner=ThreadPoolTaskRunner(max_workers=64),
    persist_result=False,
    validate_parameters=True,
)
def ablate(matrix: str, recipes: list[Recipe]) -> dict[str, str]:
    """Runs every variant's chain, what they share once. One that fails stops no other: returns what failed, and why."""
    place = Place.from_settings()
    place.store.probe()
    return reasons(attempt(plan_all([fusion(recipe) for recipe in recipes], place.store), place))


@flow(
    name="evaluation",
    flow_run_name="{examination.name}",
    task_runner=ThreadPoolTaskRunner(max_workers=64),
    persist_result=False,
    validate_parameters=True,
)
def examine(examination: Examination) -> dict[str, str]:
    """Evaluates models on suites; returns what failed, and why."""
    place = Place.from_settings()
    place.store.probe()
    return reasons(attempt(plan_all(list(chains(examination).values()), place.store), place))


def reasons(failed: dict[str, PrefectFuture]) -> dict[str, str]:
    return {address: str(future.result(raise_on_failure=False)) for address, future in failed.items()}


def submit(planned: list[Planned], place: Place) -> None:
    """Brings every step that is found or needed. The first failure is raised when all that can be done beside it is done;
    bad input stops everything at once."""

    def stop(future: PrefectFuture) -> None:
        if isinstance(future.result(raise_on_failure=False), BadInput):
            place.launcher.stopped.set()  # no retry mends it: nothing more is spent

    for future in attempt(planned, place, stop).values():
        future.result()


def attempt(
    planned: list[Planned], place: Place, on_failure: Callable[[PrefectFuture], None] = lambda future: None
) -> dict[str, PrefectFuture]:
    """Submits every step that is found or needed; each starts when its inputs are there. Returns what failed, by address."""
    storage = result_storage(place)
    futures: dict[str, PrefectFuture] = {}
    for one in planned:
        if one.state != "not needed":
            inputs = [
                futures[item.address] for items in one.step.inputs.values() for item in items if item.address in futures
            ]
            futures[one.step.address] = as_task(one, place, storage).submit(wait_for=inputs)
    for future in as_completed(list(futures.values())):
        if ended_badly(future):
            on_failure(future)
    return {address: future for address, future in futures.items() if ended_badly(future)}


def ended_badly(future: PrefectFuture) -> bool:
    return future.state.is_failed() or future.state.is_crashed()


def as_task(planned: Planned, place: Place, storage: str):
    """A step as a Prefect task. A cache record whose manifest is gone from the store does not count."""
    step = planned.step

    @task(
        name=step.title,
        task_run_name=step.label,
        cache_key_fn=lambda *_: step.address.replace("/", "-"),
        persist_result=True,
        result_serializer="json",
        result_storage=storage,
        refresh_cache=planned.runs,
    )
    def bring() -> dict:
        progress = ProgressArtifact(step)
        manifest = ensure(
            step, place.store, place.launcher, lambda *seen: [look(*seen) for look in (progress, *observers)]
        )
        return {"stage": manifest.stage, "fingerprint": manifest.fingerprint, "content": manifest.content}

    return bring


class ProgressArtifact:
    """The same numbers as on the terminal, as a Prefect progress artifact."""

    def __init__(self, step: Step):
        self.key = f"{step.stage.name}-{step.fingerprint[:8]}"
        self.artifact: UUID | None = None
        self.last = 0.0

    def __call__(self, step: Step, doing: str, done: int, total: int, unit: str) -> None:
        if not total or (time.monotonic() - self.last < PROGRESS_EVERY and done < total):
            return
        self.last = time.monotonic()
        try:
            self.tell(f"{step.label}: {done:,} of {total:,} {unit}", 100 * done / total)
        except (
            httpx.HTTPError,
            OSError,
            RuntimeError,
            PrefectException,
        ) as problem:  # a number unseen is no reason to stop
            get_run_logger().warning("progress not reported: %s", problem)

    def tell(self, text: str, share: float) -> None:
        if self.artifact is None:
            self.artifact = create_progress_artifact(share, key=self.key, description=text)
        else:
            update_progress_artifact(self.artifact, share, description=text)


def result_storage(place: Place) -> str:
    """Where Prefect keeps its small results: beside the artifacts, so that the cache outlives the server's database."""
    where = f"{place.store.blobs.url}/_prefect"
    if "://" in where:
        block, kind = RemoteFileSystem(basepath=where, settings={"use_listings_cache": False}), "remote-file-system"
    else:
        block, kind = LocalFileSystem(basepath=where), "local-file-system"
    name = f"fusion-results-{hashlib.sha256(where.encode()).hexdigest()[:10]}"  # one server may serve several stores
    block.save(name, overwrite=True)
    return f"{kind}/{name}"


def publish(last: Step, place: Place) -> None:
    """The run's results as artifacts of the run, for those who look into the UI."""
    numbers = place.numbers(last)
    percent = lambda rate: "–" if rate is None else f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"
    create_table_artifact(
        key="results",
        description="on held-out prompts, with intervals",
        table=[
            {"model": row["model"], "accuracy": percent(row["accuracy"]), "win rate": percent(row["win_rate"])}
            for row in numbers["results"]
        ],
    )
    create_markdown_artifact(key="report", markdown=f"{numbers['summary']}\n\nThe report: `{place.report(last)}`")
