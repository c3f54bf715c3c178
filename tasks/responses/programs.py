"""Chooses the program that generates a model's responses, and its number of workers, from the engine settings."""

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


def choose_workers(run: Run, how: AnyEngine, model: Manifest) -> tuple[Workers, dict]:
    """Returns the workers and the engine-specific part of their job."""
    shared: dict[str, Any] = {"workers": how.programs, "restarts": how.restarts}
    match how:
        case Transformers():
            return Workers("tasks.responses.transformers_program", **shared), {"model": str(run.model(model))}
        case Vllm():
            place = vllm_python(how)  # checked first: a missing environment should fail before the model is downloaded
            program = "tasks.responses.vllm_server_program" if how.server else "tasks.responses.vllm_program"
            return Workers(program, environment=place, **shared), {"model": str(run.model(model))}
        case EndpointEngine():
            if how.key:
                read_secret(how.key)  # fails here, before a worker starts, if the variable is not set
            tokenizer = {"tokenizer": str(run.tokenizer(model))} if how.speaks == "tokens" else {}
            known = partial(known_models, run)  # asked when a worker starts: another step may have added rows meanwhile
            extra_job = lambda worker: {"url": how.urls[worker], "known": known()}
            return Workers("tasks.responses.endpoint_program", extra_job=extra_job, **shared), tokenizer


def vllm_python(how: Vllm) -> Environment:
    python = settings().vllm.absolute() / "bin" / "python"
    if not python.exists():
        raise BadInput(f"FUSE_VLLM: {settings().vllm} has no Python environment; run make vllm")
    return Environment(str(python), vllm_environment())
