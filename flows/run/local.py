"""Runs on this machine, with the Prefect server of PREFECT_API_URL, or with a temporary server in the workspace."""

import contextlib
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from flows.config.examination import Examination
from flows.config.recipe import Recipe
from infra.errors import BadInput
from infra.prefect_server import is_healthy, local_server
from infra.scratch import sweep_scratch
from infra.settings import api_given, quieten_prefect, settings
from tasks.execution import Observer


def run_here(recipe: Recipe, observe: Observer) -> dict:
    with prefect_here(observe) as orchestrate:
        return orchestrate.fuse(recipe)


def ablate_here(matrix: str, recipes: Sequence[Recipe], observe: Observer) -> dict[str, str]:
    """Runs a matrix; returns the address of each failed step with the reason."""
    with prefect_here(observe) as orchestrate:
        return orchestrate.ablate(matrix, list(recipes))


def examine_here(examination: Examination, observe: Observer) -> dict[str, str]:
    """Runs an examination; returns the address of each failed step with the reason."""
    with prefect_here(observe) as orchestrate:
        return orchestrate.examine(examination)


@contextlib.contextmanager
def prefect_here(observe: Observer) -> Iterator[ModuleType]:
    """The module of the flows. It is imported only when a Prefect server answers."""
    sweep_scratch(settings().workspace / "scratch")
    quieten_prefect()
    with contextlib.ExitStack() as stack:
        if (given := api_given()) and not is_healthy(given):
            raise BadInput(f"PREFECT_API_URL: no Prefect server answers at {given}")
        address = None if given else stack.enter_context(local_server(settings().workspace / "prefect"))
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        from flows.run import orchestrate

        local: dict[Any, str | None] = (
            {PREFECT_API_URL: address, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if address else {}
        )
        stack.enter_context(temporary_settings(local))
        orchestrate.observers.append(observe)
        stack.callback(orchestrate.observers.remove, observe)
        yield orchestrate
