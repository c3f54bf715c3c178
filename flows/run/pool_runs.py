"""What is asked of a work pool's workers, a step or a share of its rows: one flow run for it, followed to its end.

The key of that flow run is the errand's in the store: two flows that need the same wait for one and the same run, and a flow
that was killed finds the run that it had started. A crashed run is never started again, a new one is.
"""

from dataclasses import dataclass

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling

from flows.run.packed_step import Portable, pack
from flows.workspace import Place
from infra.errors import BadInput, ProgramFailed
from infra.store import Store
from tasks.execution import Observer, Share
from tasks.stage import Step

POLL = 1.0
ATTEMPTS = 3


@dataclass(frozen=True)
class Errand:
    """A step that a worker brings to its manifest, or a share of its rows, which go to the step's pool."""

    step: Step
    share: Share | None = None
    urgency: int = 0  # how many steps of the flow follow on it, one after the other

    @property
    def key(self) -> str:
        return f"{self.step.address}/{self.share.name}" if self.share else self.step.address

    def done(self, store: Store) -> bool:
        """What is left of a share only its worker knows."""
        return self.share is None and store.manifest(*self.step.address.split("/")) is not None


def name_of(step: Step | Portable, share: Share | None = None) -> str:
    words = [step.label, *([str(share)] if share else []), step.address.partition("/")[2][:8]]
    return " · ".join(words)


def carried_out(errand: Errand, place: Place, observe: Observer) -> FlowRun | None:
    """The errand's run when it has ended, in whichever way; one that is lost is replaced. None where it needed no run."""
    for _ in range(ATTEMPTS):
        with get_client(sync_client=True) as client:
            if run := attach(errand, place, client):
                run = follow(run, errand, place, observe, client)
        if run is None or errand.done(place.store) or not lost(run):
            break
    return run


def lost(run: FlowRun) -> bool:
    """Whether nothing is wrong but that it is no more: its worker died, or another flow that asked for it was cancelled."""
    return run.state.is_crashed() or (run.state.is_cancelled() and f"asked-by:{flow_run.id}" not in run.tags)


def attach(errand: Errand, place: Place, client: SyncPrefectClient) -> FlowRun | None:
    """The live run of this errand, whoever asked for it, or a new one; none where a run that was quicker has done it."""
    step, where = errand.step, place.store.blobs.url
    runs = runs_of(errand, place, client)
    if live := [run for run in runs if is_live(run)]:
        return live[0]
    attempt = len(runs)
    while not errand.done(place.store):
        try:
            run = run_deployment(
                f"stage/{step.how.work_pool}",
                parameters={
                    "step": pack(step).model_dump(mode="json"),
                    "store": where,
                    "urgency": errand.urgency,
                    **({"share": errand.share.model_dump()} if errand.share else {}),
                },
                idempotency_key=f"{where}/{errand.key}:{attempt}",
                tags=[*tags(errand, place), f"asked-by:{flow_run.id}"],
                flow_run_name=name_of(step, errand.share),
                timeout=0,
            )
        except ObjectNotFound as problem:
            raise BadInput(
                f"how: there is no deployment stage/{step.how.work_pool} on this Prefect server for the work pool of "
                f"{step.label!r}; fuse deploy registers the pools of prefect.yaml"
            ) from problem
        if not run.state.is_final():
            return run
        attempt += 1  # the key was used before: by a run that has ended since, or that somebody deleted beside others
    return None


def tags(errand: Errand, place: Place) -> list[str]:
    return [f"step:{errand.key}", f"store:{place.store.blobs.url}"]  # one server may serve several stores


def runs_of(errand: Errand, place: Place, client: SyncPrefectClient) -> list[FlowRun]:
    asked = FlowRunFilter(tags=FlowRunFilterTags(all_=tags(errand, place)))
    return client.read_flow_runs(flow_run_filter=asked, sort=FlowRunSort.START_TIME_DESC)


def is_live(run: FlowRun) -> bool:
    return not (run.state.is_final() or run.state.is_cancelling())


def follow(run: FlowRun, errand: Errand, place: Place, observe: Observer, client: SyncPrefectClient) -> FlowRun:
    """The run when it has ended. When this flow ends first, it takes the run along."""
    step, said = errand.step, ""
    while not run.state.is_final():
        doing = "running" if run.state.is_running() else f"waits for a worker of {step.how.work_pool}"
        if doing != said:
            observe(step, doing, 0, 0, "")
            said = doing
        if place.launcher.stopped.wait(POLL):
            client.set_flow_run_state(run.id, Cancelling(message="the flow that asked for it has ended"))
            raise ProgramFailed(f"{step.label}: {run.name} was ended with the flow that asked for it")
        run = client.read_flow_run(run.id)
    observe(step, "running", 0, 0, "")
    return run
