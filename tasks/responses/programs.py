"""Which program makes a model's responses, how many of it, and what it is told: an engine's settings made work."""

from typing import Any

from infra.errors import BadInput
from infra.launch import Environment
from infra.manifest import Manifest
from infra.settings import read_secret, settings, vllm_environment
from tasks.execution import Run
from tasks.responses.engines import AnyEngine, EndpointEngine, Transformers, Vllm
from tasks.rows.workers import Workers


def choose_workers(run: Run, how: AnyEngine, model: Manifest) -> tuple[Workers, dict]:
    """The crew, and the part of its job that is the engine's own."""
    shared: dict[str, Any] = {"workers": how.programs, "restarts": how.restarts}
    match how:
        case Transformers():
            return Workers("tasks.responses.transformers_program", **shared), {"model": str(run.model(model))}
        case Vllm():
            place = of_vllm(how)  # looked for before anything is fetched
            program = "tasks.responses.vllm_server_program" if how.server else "tasks.responses.vllm_program"
            return Workers(program, environment=place, **shared), {"model": str(run.model(model))}
        case EndpointEngine():
            if how.key:
                read_secret(how.key)
            tokenizer = {"tokenizer": str(run.tokenizer(model))} if how.speaks == "tokens" else {}
            return Workers(
                "tasks.responses.endpoint_program", own=lambda worker: {"url": how.urls[worker]}, **shared
            ), tokenizer


def of_vllm(how: Vllm) -> Environment:
    python = settings().vllm.absolute() / "bin" / "python"
    if not python.exists():
        raise BadInput(f"FUSE_VLLM: {settings().vllm} holds no environment; make vllm makes it")
    return Environment(str(python), vllm_environment())
