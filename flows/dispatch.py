"""A step done on a work pool: a flow run of its own, which one of the pool's workers executes with its own store settings.

The key of that flow run is the step's address in the store: two flows that need the same step wait for one and the same
run, and a flow that was killed finds the run that it had started. A crashed run is never started again, a new one is.
"""

from prefect import flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling, Completed, Failed

from flows.place import Place
from flows.portable import Portable, pack, unpack
from flows.progress import ProgressArtifact
from infra.errors import TRANSIENT, BadInput, ProgramFailed, Unavailable
from infra.gpus import require_gpus
from infra.manifest import Manifest
from tasks.execution import Observer, ensure
from tasks.stage import Step

POLL = 1.0
ATTEMPTS = 3
REFUSED, UNAVAILABLE = "Refused", "Unavailable"  # names of failed states, so that the other side knows what to do


def stage_run_name() -> str:
    return name_of(Portable.model_validate(flow_run.parameters["step"]))


def name_of(step: Step | Portable) -> str:
    return f"{step.label} · {step.address.partition('/')[2][:8]}"


@flow(name="stage", flow_run_name=stage_run_name, persist_result=False, validate_parameters=True)
def carry_out_stage(step: Portable, store: str) -> State:
    """What a worker does for a flow: brings one step to its manifest.

    Args:
        step: the stage's settings, and its inputs by address
        store: where the flow that asks for it keeps its artifacts
    """
    place = Place.from_settings()
    try:
        if place.store.blobs.url != store:
            raise BadInput(f"FUSE_STORE: this worker's store is {place.store.blobs.url}, the flow's is {store}")
        require_gpus()
        made = unpack(step)
        ensure(made, place.store, place.launcher, ProgressArtifact(made))
    except BadInput as problem:
        return Failed(name=REFUSED, message=str(problem))
    except TRANSIENT as problem:
        return Failed(name=UNAVAILABLE, message=str(problem))
    return Completed(message=step.address)


def dispatch(step: Step, place: Place, observe: Observer) -> Manifest:
    """The step's manifest, made by a worker of the step's pool."""
    for _ in range(ATTEMPTS):
        with get_client(sync_client=True) as client:
            if run := attach(step, place, client):
                run = follow(run, step, place, observe, client)
        if found := place.store.manifest(*step.address.split("/")):
            observe(step, "done", 0, 0, "")
            return found
        if run.state.is_completed():
            raise RuntimeError(f"{step.label}: {run.name} says that it is done, but {step.address} is not in the store")
        ended_by_others = run.state.is_cancelled() and f"asked-by:{flow_run.id}" not in run.tags
        if not (run.state.is_crashed() or ended_by_others):
            raise problem_of(run, step)
    raise ProgramFailed(f"{step.label}: lost its run on {step.how.work_pool} {ATTEMPTS} times: {run.state.message}")


def attach(step: Step, place: Place, client: SyncPrefectClient) -> FlowRun | None:
    """The live run of this step, whoever asked for it, or a new one; none where a run that was quicker has made it."""
    tags = [f"step:{step.address}", f"store:{place.store.blobs.url}"]  # one server may serve several stores
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=tags)), sort=FlowRunSort.START_TIME_DESC
    )
    if live := [run for run in runs if not (run.state.is_final() or run.state.is_cancelling())]:
        return live[0]
    attempt = len(runs)
    while not place.store.manifest(*step.address.split("/")):
        try:
            run = run_deployment(
                f"stage/{step.how.work_pool}",
                parameters={"step": pack(step).model_dump(mode="json"), "store": place.store.blobs.url},
                idempotency_key=f"{place.store.blobs.url}/{step.address}:{attempt}",
                tags=[*tags, f"asked-by:{flow_run.id}"],
                flow_run_name=name_of(step),
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


def follow(run: FlowRun, step: Step, place: Place, observe: Observer, client: SyncPrefectClient) -> FlowRun:
    """The run when it has ended. When this flow ends first, it takes the run along."""
    said = ""
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


def problem_of(run: FlowRun, step: Step) -> Exception:
    if kind := {REFUSED: BadInput, UNAVAILABLE: Unavailable}.get(run.state.name):
        return kind(run.state.message)
    return ProgramFailed(f"{step.label}: {run.name} {run.state.name.lower()}: {run.state.message}")
