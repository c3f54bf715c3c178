"""Settings of the engines that generate responses. They do not change which rows exist, so they are not hashed.

Each row records its engine and the engine's version.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from tasks.endpoint.settings import Addresses, Asking
from tasks.stage import How, SharedHow


class Engine(How):
    part_seconds: float = Field(
        default=45.0,
        ge=0,
        description="seconds after which finished rows are saved; a kill loses at most the rows since then",
    )
    restarts: int = Field(default=2, ge=0, description="how often an engine that was killed or failed is restarted")


class Local(Engine, SharedHow):
    """An engine that loads the weights itself."""


class Transformers(Local):
    """transformers, in the application's environment: slow, but runs every model that transformers can load."""

    kind: Literal["transformers"] = "transformers"
    batch_size: int = Field(default=64, gt=0, le=65_536, description="responses generated at the same time")
    batches_per_part: int = Field(
        default=8, gt=0, description="batches after which finished rows are saved, even before part_seconds"
    )

    @property
    def gpus(self) -> int:
        return 1


class Vllm(Local):
    """vLLM, in a separate environment (`make vllm`): continuous batching, weights split over GPUs."""

    kind: Literal["vllm"]
    tensor_parallel: int = Field(
        default=1, gt=0, description="number of GPUs among which one copy of the weights is divided"
    )
    in_flight: int = Field(default=256, gt=0, description="responses generated at the same time")
    memory: float = Field(default=0.92, gt=0, le=1, description="share of a GPU's memory that vLLM may use")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: the type of the stored weights"
    )
    eager: bool = Field(default=False, description="true: without CUDA graphs; the engine is slower, but starts sooner")
    server: bool = Field(
        default=False,
        description="run vLLM as a local server and send it requests, for models that its offline engine cannot serve",
    )

    @property
    def gpus(self) -> int:
        return self.tensor_parallel


class EndpointEngine(Engine, Asking):
    """A server with an OpenAI-compatible API: a paid API, or a vLLM server that you run."""

    kind: Literal["endpoint"]
    urls: Addresses = Field(description="addresses up to and including /v1; several servers share the rows")
    model: str = Field(min_length=1, description="the model's name at the server")
    key: str = Field(
        default="", description="name of the environment variable that holds the key, not the key; empty: no key"
    )
    speaks: Literal["chat", "tokens"] = Field(
        default="chat",
        description="tokens: the server accepts token ids and vLLM's sampling fields, so it applies no template; chat: it"
        " applies its own",
    )
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    concurrency: int = Field(default=64, gt=0, description="requests at the same time to each server")
    timeout: float = Field(default=600.0, gt=0, description="seconds to wait for one answer")
    attempts: int = Field(
        default=8,
        gt=0,
        description="attempts per request; after the last one the source fails, and its finished rows are kept",
    )
    requests_per_minute: float = Field(default=0, ge=0, description="requests per minute to each server; 0: no limit")
    tokens_per_minute: float = Field(
        default=0, ge=0, description="tokens of prompts and responses per minute to each server; 0: no limit"
    )
    accept_models: tuple[str, ...] = Field(
        default=(), description="other models than the one that made the stored rows, by the name in the refusal"
    )
    price_in: float = Field(default=0, ge=0, description="dollars per million prompt tokens")
    price_out: float = Field(default=0, ge=0, description="dollars per million response tokens")

    @property
    def programs(self) -> int:
        return len(self.urls)


def engine_kind(value: Any) -> Any:
    """The engine's kind; transformers if the recipe names none."""
    return value.get("kind", "transformers") if isinstance(value, dict) else getattr(value, "kind", None)


AnyLocal = Annotated[
    Annotated[Transformers, Tag("transformers")] | Annotated[Vllm, Tag("vllm")], Discriminator(engine_kind)
]
AnyEngine = Annotated[
    Annotated[Transformers, Tag("transformers")]
    | Annotated[Vllm, Tag("vllm")]
    | Annotated[EndpointEngine, Tag("endpoint")],
    Discriminator(engine_kind),
]
