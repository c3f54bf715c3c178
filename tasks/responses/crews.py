"""Which program makes a model's responses, how many of it, and what it is told: an engine's settings made work."""

from infra.errors import BadInput
from infra.launch import HERE, Environment
from infra.settings import devices, secret, settings, vllm_environment
from infra.store import Manifest
from tasks.crew import Crew
from tasks.execution import Run
from tasks.responses.engines import AnyEngine, Endpoint, Transformers, Vllm


def crew_of(run: Run, how: AnyEngine, model: Manifest) -> tuple[Crew, dict]:
    """The crew, and the part of its job that is the engine's own."""
    shared = {"workers": how.programs, "restarts": how.restarts}
    match how:
        case Transformers():
            apart = lambda worker: Environment(variables=gpus(how, worker, 1))
            return Crew("tasks.responses.generate", environment=apart, **shared), {"model": str(run.model(model))}
        case Vllm():
            apart = lambda worker: of_vllm(gpus(how, worker, how.tensor_parallel))
            of_vllm({})  # before anything is fetched
            return Crew("tasks.responses.batching", environment=apart, **shared), {"model": str(run.model(model))}
        case Endpoint():
            if how.key:
                secret(how.key)
            tokenizer = {"tokenizer": str(run.tokenizer(model))} if how.speaks == "tokens" else {}
            crew = Crew(
                "tasks.responses.ask", environment=lambda worker: HERE, own=lambda k: {"url": how.urls[k]}, **shared
            )
            return crew, tokenizer


def gpus(how: Transformers | Vllm, worker: int, each: int) -> dict[str, str]:
    return devices(worker, each) if how.workers > 1 else {}


def of_vllm(variables: dict[str, str]) -> Environment:
    python = settings().vllm.absolute() / "bin" / "python"
    if not python.exists():
        raise BadInput(f"FUSE_VLLM: {settings().vllm} holds no environment; make vllm makes it")
    return Environment(str(python), vllm_environment() | variables)
