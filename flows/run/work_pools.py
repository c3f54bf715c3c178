"""A step done on a work pool: by a flow run of its own, which one of the pool's workers executes with its own store settings.

Where its engine says so, several runs make its rows first, each its own share, on as many hosts as the pool has free. However
they ended, one more run finds what they made, makes what they left, and alone writes the artifact.
"""

from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context

from prefect import flow, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.run.packed_step import Portable, unpack
from flows.run.pool_runs import ATTEMPTS, Errand, carried_out, is_live, lost, name_of, runs_of
from flows.run.progress import ProgressArtifact
from flows.workspace import Place
from infra.errors import TRANSIENT, BadInput, ProgramFailed, Unavailable
from infra.gpus import require_gpus
from infra.manifest import Manifest
from tasks.execution import Observer, Share, ensure, make_share
from tasks.stage import Step

REFUSED, UNAVAILABLE = "Refused", "Unavailable"  # names of failed states, so that the other side knows what to do


def stage_run_name() -> str:
    asked = flow_run.parameters
    share = Share.model_validate(asked["share"]) if asked.get("share") else None
    return name_of(Portable.model_validate(asked["step"]), share)


@flow(name="stage", flow_run_name=stage_run_name, persist_result=False, validate_parameters=True)
def carry_out_stage(step: Portable, store: str, share: Share | None = None, urgency: int = 0) -> State:
    """What a worker does for a flow: brings one step to its manifest, or a share of its rows to their pool.

    Args:
        step: the stage's settings, and its inputs by address
        store: where the flow that asks for it keeps its artifacts
        share: the part of the rows that this run makes, and no artifact. None: the whole step
        urgency: how many steps of the flow follow on it, one after the other; of two programs that wait for GPUs it decides
    """
    place = Place.from_settings()
    try:
        if place.store.blobs.url != store:
            raise BadInput(f"FUSE_STORE: this worker's store is {place.store.blobs.url}, the flow's is {store}")
        require_gpus()
        made = unpack(step)
        if share:
            counts = make_share(made, share, place.store, place.launcher, ProgressArtifact(made, share), urgency)
            return Completed(message=f"{counts.get('rows_made', 0):,} rows made of {counts.get('rows', 0):,}")
        ensure(made, place.store, place.launcher, ProgressArtifact(made), urgency)
    except BadInput as problem:
        return Failed(name=REFUSED, message=str(problem))
    except TRANSIENT as problem:
        return Failed(name=UNAVAILABLE, message=str(problem))
    return Completed(message=step.address)


def dispatch(step: Step, place: Place, observe: Observer, urgency: int = 0) -> Manifest:
    """The step's manifest, made by workers of the step's pool."""
    whole = Errand(step, urgency=urgency)
    if step.how.hosts > 1 and not (whole.done(place.store) or under_way(whole, place)):
        share_out(step, place, observe, urgency)
    run = carried_out(whole, place, observe)
    if found := place.store.manifest(*step.address.split("/")):
        observe(step, "done", 0, 0, "")
        return found
    if run.state.is_completed():
        raise RuntimeError(f"{step.label}: {run.name} says that it is done, but {step.address} is not in the store")
    if lost(run):
        raise ProgramFailed(f"{step.label}: lost its run on {step.how.work_pool} {ATTEMPTS} times: {run.state.message}")
    raise problem_of(run, step)


def under_way(errand: Errand, place: Place) -> bool:
    with get_client(sync_client=True) as client:
        return any(is_live(run) for run in runs_of(errand, place, client))


def share_out(step: Step, place: Place, observe: Observer, urgency: int = 0) -> None:
    """A run for each share, all at once; returns when the last has ended. They may be more than there are workers: a run that
    still queues holds no lease, and nobody waits for it but us."""
    shares = [Share(number=number, of=step.how.hosts) for number in range(1, step.how.hosts + 1)]
    errands = [Errand(step, share, urgency) for share in shares]

    def bring(errand: Errand) -> FlowRun:
        look = lambda step, doing, *_: observe(
            step, doing if doing == "running" else f"{errand.share} {doing}", 0, 0, ""
        )
        return carried_out(errand, place, look)

    with ThreadPoolExecutor(len(errands)) as threads:
        # in copies of our context: by it Prefect knows which flow run asks
        futures = [threads.submit(copy_context().run, bring, errand) for errand in errands]
        for ended, future in enumerate(as_completed(futures), 1):
            run = future.result()
            if not run.state.is_completed():
                observe(step, f"{run.name} {run.state.name.lower()}: {run.state.message}", 0, 0, "")
            observe(step, "running", ended, len(errands), "shares")
    for run in (future.result() for future in futures):
        if run.state.name == UNAVAILABLE:
            raise problem_of(run, step)  # later may work, on all of them at once


def problem_of(run: FlowRun, step: Step) -> Exception:
    if kind := {REFUSED: BadInput, UNAVAILABLE: Unavailable}.get(run.state.name):
        return kind(run.state.message)
    return ProgramFailed(f"{step.label}: {run.name} {run.state.name.lower()}: {run.state.message}")
