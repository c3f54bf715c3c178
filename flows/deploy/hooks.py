"""Hooks of deployed flows: limit restarts, call the webhook, fail the run if a step failed."""

from prefect.runtime import flow_run

from infra.errors import BadInput, ProgramFailed
from infra.notify import post_message
from infra.settings import settings

STARTS = 10  # limit of automatic restarts of a run that keeps crashing


def call_webhook(flow, run, state) -> None:
    if address := settings().webhook.get_secret_value():
        post_message(address, f"{run.name}: {state.name.lower()}{f', {state.message}' if state.message else ''}")


WEBHOOK_HOOKS = {name: [call_webhook] for name in ("on_completion", "on_failure", "on_crashed")}


def refuse_endless_starts() -> None:
    if (flow_run.run_count or 0) > STARTS:
        raise BadInput(f"this run was started {STARTS} times; start a new run, it continues where this one stopped")


def refuse_failures(failed: dict[str, str]) -> None:
    if failed:
        raise ProgramFailed("; ".join(f"{address}: {reason}" for address, reason in failed.items()))
