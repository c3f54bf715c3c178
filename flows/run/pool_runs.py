"""Flow runs on a work pool: each makes one step, or a share of its rows, and the flow that asked for it waits for its end.

The idempotency key of a flow run comes from the step's address. So two flows that need the same step wait for the same run,
and a flow that was killed finds the run that it had started. A crashed run is replaced by a new run.
"""

from dataclasses import dataclass
from typing import cast

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling

from flows.run.packed_step import PackedStep, pack_step
from flows.workspace import Workspace
from infra.errors import BadInput, ProgramFailed
from infra.store import Store
from tasks.execution import Observer, Share
from tasks.stage import Step

POLL = 1.0
ATTEMPTS = 3


@dataclass(frozen=True)
class Errand:
    """Work for a worker: make a step's artifact, or make a share of its rows for the step's pool of rows."""

    step: Step
    share: Share | None = None
    urgency: int = 0  # length of the longest chain of steps that wait for this one
    beside: tuple[Step, ...] = ()  # steps whose rows the same programs make, and whose artifacts the same run makes

    @property
    def key(self) -> str:
        return f"{self.step.address}/{self.share.name}" if self.share else self.step.address

    def done(self, store: Store) -> bool:
        """Whether the step's artifact is in the store. Always false for a share: only its worker knows the missing rows."""
        return self.share is None and store.manifest(*self.step.address.split("/")) is not None


def name_pool_run(step: Step | PackedStep, share: Share | None = None) -> str:
    words = [step.label, *([str(share)] if share else []), step.address.partition("/")[2][:8]]
    return " · ".join(words)


def carried_out(errand: Errand, place: Workspace, observe: Observer) -> FlowRun | None:
    """The ended run of this errand, successful or not; a lost run is replaced. None if no run was needed."""
    run: FlowRun | None = None
    for _ in range(ATTEMPTS):
        with get_client(sync_client=True) as client:
            if run := attach_run(errand, place, client):
                run = follow_run(run, errand, place, observe, client)
        if run is None or errand.done(place.store) or not has_vanished(run):
            break
    return run


def get_state(run: FlowRun) -> State:
    assert run.state is not None  # a run that the server returned has a state
    return run.state


def has_vanished(run: FlowRun) -> bool:
    """Whether a new run may succeed: this run's worker died, or it was cancelled together with another flow."""
    return get_state(run).is_crashed() or (get_state(run).is_cancelled() and f"asked-by:{flow_run.id}" not in run.tags)


def attach_run(errand: Errand, place: Workspace, client: SyncPrefectClient) -> FlowRun | None:
    """The live run of this errand (this or another flow started it), or a new one; None if the errand is done already."""
    step, store_url = errand.step, place.store.blobs.url
    runs = runs_of(errand, place, client)
    if live := [run for run in runs if is_live(run)]:
        return live[0]
    attempt = len(runs)
    while not errand.done(place.store):
        try:
            answer = run_deployment(
                f"stage/{step.how.work_pool}",
                parameters={
                    "step": pack_step(step).model_dump(mode="json"),
                    "store": store_url,
                    "urgency": errand.urgency,
                    **({"share": errand.share.model_dump()} if errand.share else {}),
                    **(
                        {"beside": [pack_step(each).model_dump(mode="json") for each in errand.beside]}
                        if errand.beside
                        else {}
                    ),
                },
                idempotency_key=f"{store_url}/{errand.key}:{attempt}",
                tags=[*list_tags(errand, place), f"asked-by:{flow_run.id}"],
                flow_run_name=name_pool_run(step, errand.share),
                job_variables=step.machine,
                timeout=0,
            )
        except ObjectNotFound as problem:
            raise BadInput(
                f"how: there is no deployment stage/{step.how.work_pool} on this Prefect server for the work pool of "
                f"{step.label!r}; fuse deploy registers the pools of prefect.yaml"
            ) from problem
        run = cast("FlowRun", answer)  # not a coroutine: this thread has no event loop
        if not get_state(run).is_final():
            return run
        attempt += 1  # a run with this key ended since, or some older runs were deleted and the count is too low
    return None


def list_tags(errand: Errand, place: Workspace) -> list[str]:
    return [f"step:{errand.key}", f"store:{place.store.blobs.url}"]  # one server may serve several stores


def runs_of(errand: Errand, place: Workspace, client: SyncPrefectClient) -> list[FlowRun]:
    with_tags = FlowRunFilter(tags=FlowRunFilterTags(all_=list_tags(errand, place)))
    return client.read_flow_runs(flow_run_filter=with_tags, sort=FlowRunSort.START_TIME_DESC)


def is_live(run: FlowRun) -> bool:
    return not (get_state(run).is_final() or get_state(run).is_cancelling())


def follow_run(run: FlowRun, errand: Errand, place: Workspace, observe: Observer, client: SyncPrefectClient) -> FlowRun:
    """Waits until the run has ended. If this flow ends first, it cancels the run."""
    step, reported = errand.step, ""
    while not get_state(run).is_final():
        doing = "running" if get_state(run).is_running() else f"waits for a worker of {step.how.work_pool}"
        if doing != reported:
            observe(step, doing, 0, 0, "")
            reported = doing
        if place.launcher.stopped.wait(POLL):
            client.set_flow_run_state(run.id, Cancelling(message="the flow that started it has ended"))
            raise ProgramFailed(f"{step.label}: {run.name} was ended, because the flow that started it ended")
        run = client.read_flow_run(run.id)
    observe(step, "running", 0, 0, "")
    return run
