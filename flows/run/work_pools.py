"""Runs a step on a work pool: in a separate flow run, which one of the pool's workers executes with the worker's settings.

If the step's engine has several hosts, several runs first make its rows, one share each, on the free hosts of the pool. Then
one more run finds these rows, makes the missing ones, and writes the artifact.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import replace

from prefect import flow, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.run.packed_step import PackedStep, unpack_step
from flows.run.pool_runs import ATTEMPTS, Errand, carried_out, get_state, has_vanished, is_live, name_pool_run, runs_of
from flows.run.progress import ProgressArtifact
from flows.workspace import Workspace
from infra.errors import TRANSIENT, BadInput, ProgramFailed, Unavailable
from infra.gpus import require_gpus
from infra.manifest import Manifest
from tasks.execution import Observer, Share, ensure_artifact, make_share
from tasks.stage import Step

REFUSED, UNAVAILABLE = "Refused", "Unavailable"  # names of failed states, so that the flow can raise the same error


def stage_run_name() -> str:
    parameters = flow_run.parameters
    share = Share.model_validate(parameters["share"]) if parameters.get("share") else None
    return name_pool_run(PackedStep.model_validate(parameters["step"]), share)


@flow(name="stage", flow_run_name=stage_run_name, persist_result=False, validate_parameters=True)
def carry_out_stage(
    step: PackedStep,
    store: str,
    share: Share | None = None,
    urgency: int = 0,
    beside: list[PackedStep] = [],  # noqa: B006 - Prefect reads the default, no code changes it
) -> State:
    """Does a flow's work on a worker: makes one step's artifact, or a share of its rows.

    Args:
        step: the stage's settings, and the addresses of its inputs
        store: the store of the flow that asks for this step
        share: the part of the rows that this run makes, without the artifact. None: the whole step
        urgency: the length of the longest chain of steps that wait for this one; programs with higher urgency get GPUs first
        beside: sampling steps of the same model: the same programs make their rows, and this run makes their artifacts
    """
    place = Workspace.from_settings()
    try:
        if place.store.blobs.url != store:
            raise BadInput(f"FUSE_STORE: this worker's store is {place.store.blobs.url}, but the flow's is {store}")
        made, others = unpack_step(step), [unpack_step(each) for each in beside]
        require_gpus(made.gpus)
        if share:
            counts = make_share(
                made, share, place.store, place.launcher, ProgressArtifact(made, share), urgency, others
            )
            return Completed(message=f"{counts.get('rows_made', 0):,} rows made of {counts.get('rows', 0):,}")
        ensure_artifact(made, place.store, place.launcher, ProgressArtifact(made), urgency, others)
        for other in others:
            ensure_artifact(other, place.store, place.launcher, ProgressArtifact(other), urgency)
    except BadInput as problem:
        return Failed(name=REFUSED, message=str(problem))
    except TRANSIENT as problem:
        return Failed(name=UNAVAILABLE, message=str(problem))
    return Completed(message=step.address)


def dispatch_step(
    step: Step, place: Workspace, observe: Observer, urgency: int = 0, beside: Sequence[Step] = ()
) -> Manifest:
    """The step's manifest, made by workers of the step's pool; they make the artifacts of the steps `beside` as well."""
    whole = Errand(step, urgency=urgency, beside=tuple(beside))
    if step.how.hosts > 1 and not (whole.done(place.store) or under_way(whole, place)):
        share_out(whole, place, observe)
    run = carried_out(whole, place, observe)
    if found := place.store.manifest(*step.address.split("/")):
        observe(step, "done", 0, 0, "")
        return found
    assert run is not None  # without a run, the artifact was there
    if get_state(run).is_completed():
        raise RuntimeError(f"{step.label}: {run.name} has completed, but {step.address} is not in the store")
    if has_vanished(run):
        raise ProgramFailed(
            f"{step.label}: lost its run on {step.how.work_pool} {ATTEMPTS} times: {get_state(run).message}"
        )
    raise problem_of(run, step)


def under_way(errand: Errand, place: Workspace) -> bool:
    with get_client(sync_client=True) as client:
        return any(is_live(run) for run in runs_of(errand, place, client))


def share_out(whole: Errand, place: Workspace, observe: Observer) -> None:
    """Starts a run for each share, all at once, and waits for all of them. There may be more runs than workers: a run in the
    queue holds no lease, so only this flow waits for it."""
    step = whole.step
    shares = [Share(number=number, of=step.how.hosts) for number in range(1, step.how.hosts + 1)]
    errands = [replace(whole, share=share) for share in shares]

    def bring(errand: Errand) -> FlowRun:
        observe_share = lambda step, doing, *_: observe(
            step, doing if doing == "running" else f"{errand.share} {doing}", 0, 0, ""
        )
        run = carried_out(errand, place, observe_share)
        assert run is not None  # a share is never done before its run
        return run

    with ThreadPoolExecutor(len(errands)) as threads:
        # each thread gets a copy of this context: Prefect reads the current flow run from it
        futures = [threads.submit(copy_context().run, bring, errand) for errand in errands]
        for ended, future in enumerate(as_completed(futures), 1):
            run = future.result()
            if not get_state(run).is_completed():
                observe(step, f"{run.name} {name_state(run).lower()}: {get_state(run).message}", 0, 0, "")
            observe(step, "running", ended, len(errands), "shares")
    for run in (future.result() for future in futures):
        if name_state(run) == UNAVAILABLE:
            raise problem_of(run, step)  # transient: the retry starts all shares again


def problem_of(run: FlowRun, step: Step) -> Exception:
    if kind := {REFUSED: BadInput, UNAVAILABLE: Unavailable}.get(name_state(run)):
        return kind(get_state(run).message)
    return ProgramFailed(f"{step.label}: {run.name} {name_state(run).lower()}: {get_state(run).message}")


def name_state(run: FlowRun) -> str:
    name = get_state(run).name
    assert name is not None  # Prefect names a state after its type if it has no other name
    return name
