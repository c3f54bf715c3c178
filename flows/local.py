"""A run on this machine: on the Prefect server that PREFECT_API_URL names, or on one of the workspace's own."""

import contextlib

from flows.recipe import Recipe
from infra.prefect_server import local_server
from infra.settings import api_given, quieten_prefect, settings
from tasks.execution import Observer


def run_here(recipe: Recipe, observe: Observer) -> dict:
    quieten_prefect()
    with contextlib.ExitStack() as stack:
        address = None if api_given() else stack.enter_context(local_server(settings().workspace / "prefect"))
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        from flows import orchestrate

        given = {PREFECT_API_URL: address, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if address else {}
        stack.enter_context(temporary_settings(given))
        orchestrate.observers.append(observe)
        stack.callback(orchestrate.observers.remove, observe)
        return orchestrate.fuse(recipe)
