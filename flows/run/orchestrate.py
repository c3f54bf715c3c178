"""Runs the chain on Prefect: one task per step, named by the first part of its label, cached under the step's address.

The cache record lets the UI show *Cached* and lets a retry skip finished steps; only the manifest decides if a step is done.
A step with a work pool runs on one of the pool's workers (`flows/run/work_pools.py`), any other step in this process.
"""

import hashlib
from collections.abc import Callable, Iterator

import httpx
from prefect import allow_failure, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.exceptions import TerminationSignal
from prefect.filesystems import LocalFileSystem, RemoteFileSystem
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.config.examination import Examination
from flows.config.recipe import Recipe
from flows.evaluation import build_chains
from flows.fusion import fusion
from flows.plan import Planned, plan_all
from flows.run.cache_records import PLAIN
from flows.run.progress import ProgressArtifact
from flows.run.shared_engines import awaited, in_order
from flows.run.work_pools import dispatch_step
from flows.suites.comparisons import reports_and_comparisons
from flows.workspace import Workspace
from infra.clocks import describe_clock_difference
from infra.errors import TRANSIENT, BadInput, BudgetReached
from infra.uses import in_use
from tasks.execution import Observer, ensure_artifact
from tasks.stage import How, Step, lineage

observers: list[Observer] = []  # called on progress besides Prefect: the terminal of a run that a person started


def is_retryable(task, task_run, state) -> bool:
    """True if retrying may help: a busy or unreachable server, not bad input."""
    problem = state.result(raise_on_failure=False)
    if isinstance(problem, httpx.HTTPStatusError):
        return problem.response.status_code in (408, 429, 500, 502, 503, 504)
    return isinstance(problem, (*TRANSIENT, httpx.TransportError))


PATIENT = {"retries": 6, "retry_delay_seconds": [4, 8, 16, 32, 64, 128], "retry_condition_fn": is_retryable}
FLOW_OPTIONS = {
    "task_runner": ThreadPoolTaskRunner(max_workers=64),
    "persist_result": False,
    "validate_parameters": True,
}


def name_run(recipe: Recipe) -> str:
    """target · recipe · short fingerprint: a name that people recognise in a list of runs."""
    return f"{recipe.target.title} · {recipe.name} · {fusion(recipe).fingerprint[:8]}"


def flow_run_name() -> str:
    return name_run(Recipe.model_validate(flow_run.parameters["recipe"]))


@flow(name="fusion", flow_run_name=flow_run_name, **FLOW_OPTIONS)
def fuse(recipe: Recipe) -> dict:
    """Fuses the recipe's sources into its target; returns the report's stage and fingerprint."""
    return run_recipe(recipe)


def run_recipe(recipe: Recipe) -> dict:
    """Runs the chain of a recipe: the body of every flow that takes a recipe."""
    last, place = fusion(recipe), Workspace.from_settings()
    with in_use(place.store.blobs, lineage(last)):
        submit_steps(make_plan([last], place), result_storage(place), place)
        publish_results(last, place)
    return {"stage": last.stage.name, "fingerprint": last.fingerprint}


@flow(name="ablation", flow_run_name="{matrix}", **FLOW_OPTIONS)
def ablate(matrix: str, recipes: list[Recipe]) -> dict[str, str]:
    """Runs every variant's chain, the base's first; shared steps run once. A failed variant does not stop the others.
    Returns the address of each failed step with the reason."""
    return ensure_all(reports_and_comparisons({recipe.name: fusion(recipe) for recipe in recipes}))


@flow(name="evaluation", flow_run_name="{examination.name}", **FLOW_OPTIONS)
def examine(examination: Examination) -> dict[str, str]:
    """Evaluates models on suites; returns the address of each failed step with the reason."""
    return ensure_all(list(build_chains(examination).values()))


def ensure_all(lasts: list[Step]) -> dict[str, str]:
    place = Workspace.from_settings()
    with in_use(place.store.blobs, [step for last in lasts for step in lineage(last)]):
        failed = submit_and_collect(make_plan(lasts, place), result_storage(place), place)
    return {address: str(future.result(raise_on_failure=False)) for address, future in failed.items()}


@task(name="plan", task_run_name="plan", persist_result=False, **PATIENT)
def make_plan(lasts: list[Step], place: Workspace) -> list[Planned]:
    place.store.probe()
    if problem := describe_clock_difference(place.store.blobs):
        get_run_logger().warning(
            "%s. Runs are not affected, but `fuse gc` will not delete until the clocks agree.", problem
        )
    planned = plan_all(lasts, place.store)
    create_table_artifact(
        key="plan",
        description="the steps that this run finds or makes, and the reasons",
        table=[
            {
                "state": entry.state,
                "step": entry.step.label,
                "work pool": pool_name(entry.step.how),
                "why": "; ".join(entry.reasons),
                "address": entry.step.address,
            }
            for entry in planned
        ],
    )
    return planned


def pool_name(how: How) -> str:
    return f"{how.work_pool}, {how.hosts} shares" if how.hosts > 1 else how.work_pool or ""


def submit_steps(planned: list[Planned], storage: str, place: Workspace) -> None:
    """Runs every step that is found or needed, and raises the first failure after all steps that can still run have run.
    Bad input stops everything at once; it is raised before the failures of the steps that it stopped. A spent budget lets
    running programs reach the end of a part."""

    def is_bad_input(future: PrefectFuture) -> bool:
        return isinstance(future.result(raise_on_failure=False), BadInput)

    def stop(future: PrefectFuture) -> None:
        if is_bad_input(future) and not isinstance(future.result(raise_on_failure=False), BudgetReached):
            place.launcher.stopped.set()  # a retry cannot help, so stop spending

    for future in sorted(submit_and_collect(planned, storage, place, stop).values(), key=is_bad_input, reverse=True):
        future.result()


def submit_and_collect(
    planned: list[Planned],
    storage: str,
    place: Workspace,
    on_failure: Callable[[PrefectFuture], None] = lambda future: None,
) -> dict[str, PrefectFuture]:
    """Submits every step that is found or needed; each starts when its inputs are there. Returns the failed steps by
    address. When the run ends, its programs end; when it is interrupted, they may save first."""
    futures: dict[str, PrefectFuture] = {}
    try:
        for entry in in_order(planned):
            if entry.state != "not needed":
                ensure_step = as_task(entry, place, storage)
                waits = list(list_awaited(entry, futures))
                futures[entry.step.address] = ensure_step.submit(wait_for=waits)  # pyright: ignore[reportCallIssue]
        for future in as_completed(list(futures.values())):
            future.wait()  # as_completed may return it before it has its final state, and the server's may be stale
            if ended_badly(future):
                on_failure(future)
    except (KeyboardInterrupt, TerminationSignal):
        place.launcher.leave()
        raise
    finally:
        place.launcher.stopped.set()
    return {address: future for address, future in futures.items() if ended_badly(future)}


def list_awaited(entry: Planned, futures: dict[str, PrefectFuture]) -> Iterator[PrefectFuture | allow_failure]:
    """What a step waits for: its inputs, and a step that makes its rows too. If that one fails, it makes them itself."""
    for address in awaited(entry):
        if address in futures:
            yield allow_failure(futures[address]) if address == entry.after else futures[address]


def ended_badly(future: PrefectFuture) -> bool:
    return future.state.is_failed() or future.state.is_crashed()


def as_task(planned: Planned, place: Workspace, storage: str):
    """A step as a Prefect task. A cache record is ignored if its manifest is not in the store any more."""
    step = planned.step

    @task(
        name=step.title,
        task_run_name=step.label,
        cache_key_fn=lambda *_: step.address.replace("/", "-"),
        persist_result=True,
        result_serializer=PLAIN,
        result_storage=storage,
        refresh_cache=planned.runs,
        **PATIENT,
    )
    def ensure_step() -> dict:
        step_observers = [ProgressArtifact(step), *observers]
        observe = lambda *progress: [observer(*progress) for observer in step_observers]
        try:
            if planned.runs and step.how.work_pool:
                manifest = dispatch_step(step, place, observe, planned.urgency, planned.beside)
            else:
                manifest = ensure_artifact(step, place.store, place.launcher, observe, planned.urgency, planned.beside)
        except TRANSIENT as problem:
            observe(step, f"unavailable, will be tried again: {problem}", 0, 0, "")
            get_run_logger().warning("unavailable, will be tried again: %s", problem)
            raise
        get_run_logger().info("%s: %s", step.label, "made" if planned.runs else "found")
        return {"stage": manifest.stage, "fingerprint": manifest.fingerprint, "content": manifest.content}

    return ensure_step


@task(name="cache", task_run_name="cache", persist_result=False, **PATIENT)
def result_storage(place: Workspace) -> str:
    """The storage of Prefect's small results: beside the artifacts, so that the cache outlives the server's database."""
    folder = f"{place.store.blobs.url}/_prefect"
    if "://" in folder:
        block, kind = RemoteFileSystem(basepath=folder, settings={"use_listings_cache": False}), "remote-file-system"
    else:
        block, kind = LocalFileSystem(basepath=folder), "local-file-system"
    name = f"fusion-results-{hashlib.sha256(folder.encode()).hexdigest()[:10]}"  # one server may serve several stores
    try:
        type(block).load(name)  # the name depends on the folder, so a block of this name needs no update
    except ValueError:  # Prefect's error for an unknown name
        block.save(name, overwrite=True)
    return f"{kind}/{name}"


@task(name="results", task_run_name="results", persist_result=False, **PATIENT)
def publish_results(last: Step, place: Workspace) -> None:
    """Publishes the run's results as Prefect artifacts, for the UI."""
    numbers = place.numbers(last)
    percent = lambda rate: "–" if rate is None else f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"
    create_table_artifact(
        key="results",
        description="on held-out prompts, with intervals"
        + (f"; no accuracy: {numbers['no_accuracy']}" if numbers["no_accuracy"] else "")
        + "".join(
            f"; {row['model']}: no accuracy: {why}" for row in numbers["results"] if (why := row.get("no_accuracy"))
        ),
        table=[
            {"model": row["model"], "accuracy": percent(row["accuracy"]), "win rate": percent(row["win_rate"])}
            for row in numbers["results"]
        ],
    )
    create_markdown_artifact(key="report", markdown=f"{numbers['summary']}\n\n{where_to_read(last, place)}")


def where_to_read(report: Step, place: Workspace) -> str:
    manifest = place.store.manifest(*report.address.split("/"))
    assert manifest is not None  # the run has made it
    (entry,) = (entry for entry in manifest.files if entry.name == "report.html")
    copy = place.report(report)
    return f"The report: [{copy.name}]({copy.absolute().as_uri()}), in the store `{place.store.blobs.url}/{entry.path}`"
