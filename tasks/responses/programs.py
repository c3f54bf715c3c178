"""Chooses the program that generates a model's responses, and its number of workers, from the engine settings."""

from collections.abc import Callable
from functools import partial
from typing import Any

from infra.errors import BadInput
from infra.launch import Environment
from infra.manifest import Manifest
from infra.settings import read_secret, settings, vllm_environment
from tasks.execution import Run
from tasks.responses.engines import AnyEngine, EndpointEngine, Transformers, Vllm
from tasks.responses.served_rows import known_models
from tasks.rows.workers import Workers


def choose_workers(run: Run, how: AnyEngine, model: Manifest) -> tuple[Workers, Callable[[], dict]]:
    """Returns the workers, and a function for the engine-specific part of their job, which may download the model."""
    shared: dict[str, Any] = {"workers": how.programs, "restarts": how.restarts}
    weights = lambda: {"model": str(run.model(model))}
    match how:
        case Transformers():
            return Workers("tasks.responses.transformers_program", **shared), weights
        case Vllm():
            program = "tasks.responses.vllm_server_program" if how.server else "tasks.responses.vllm_program"
            return Workers(program, environment=vllm_python(how), **shared), weights
        case EndpointEngine():
            if how.key:
                read_secret(how.key)  # fails here, before a worker starts, if the variable is not set
            tokens = how.speaks == "tokens"
            known = partial(known_models, run)  # asked when a worker starts: another step may have added rows meanwhile
            extra_job = lambda worker: {"url": how.urls[worker], "known": known()}
            tokenizer = lambda: {"tokenizer": str(run.tokenizer(model))} if tokens else {}
            return Workers("tasks.responses.endpoint_program", extra_job=extra_job, **shared), tokenizer


def vllm_python(how: Vllm) -> Environment:
    python = settings().vllm.absolute() / "bin" / "python"
    if not python.exists():
        raise BadInput(f"FUSE_VLLM: {settings().vllm} has no Python environment; run make vllm")
    return Environment(str(python), vllm_environment())
