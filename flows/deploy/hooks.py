"""How runs of deployments begin and end: not for ever again, told to the webhook, failed where a part of them has."""

from prefect.runtime import flow_run

from infra.errors import BadInput, ProgramFailed
from infra.notify import tell
from infra.settings import settings

STARTS = 10  # a run that crashes again and again is not started for ever


def notify(flow, run, state) -> None:
    if address := settings().webhook.get_secret_value():
        tell(address, f"{run.name}: {state.name.lower()}{f', {state.message}' if state.message else ''}")


TOLD = {name: [notify] for name in ("on_completion", "on_failure", "on_crashed")}


def refuse_endless_starts() -> None:
    if (flow_run.run_count or 0) > STARTS:
        raise BadInput(f"this run was started {STARTS} times; a new run goes on where it was")


def refuse_failures(failed: dict[str, str]) -> None:
    if failed:
        raise ProgramFailed("; ".join(f"{address}: {reason}" for address, reason in failed.items()))
