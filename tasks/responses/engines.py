"""Settings of the engines that generate responses. They do not change which rows exist, so they are not hashed.

Each row records its engine and the engine's version.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from tasks.endpoint.settings import Addresses, Asking
from tasks.stage import How, SharedHow


class Engine(How):
    part_seconds: float = Field(
        default=45.0,
        ge=0,
        description="seconds after which finished rows are saved; a kill loses at most the rows since then",
    )
    restarts: int = Field(
        default=2, ge=0, description="maximum number of restarts of an engine that was killed or failed"
    )


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


# Arguments of vLLM that `extra` must not name: fields set them, or they would load code, pickles or another model.
FIXED = {
    "model",
    "tokenizer",
    "dtype",
    "max_model_len",
    "max_num_seqs",
    "tensor_parallel_size",
    "pipeline_parallel_size",
}
FIXED |= {"data_parallel_size", "enable_expert_parallel", "gpu_memory_utilization", "enforce_eager", "quantization"}
FIXED |= {
    "kv_cache_dtype",
    "enable_prefix_caching",
    "generation_config",
    "seed",
    "disable_log_stats",
    "trust_remote_code",
}
FIXED |= {
    "load_format",
    "hf_overrides",
    "revision",
    "code_revision",
    "tokenizer_revision",
    "hf_token",
    "logits_processors",
}
FIXED |= {"host", "port", "api_key", "served_model_name", "model_impl", "hf_config_path", "download_dir"}


class Vllm(Local):
    """vLLM, in a separate environment (`make vllm`): continuous batching, weights split over GPUs."""

    kind: Literal["vllm"]
    tensor_parallel: int = Field(default=1, gt=0, description="number of GPUs among which each layer is divided")
    pipeline_parallel: int = Field(
        default=1, gt=0, description="number of such groups of GPUs, each with some of the layers"
    )
    data_parallel: int = Field(
        default=1, gt=0, description="copies of the weights in one server; offline engines have workers for this"
    )
    expert_parallel: bool = Field(default=False, description="whole experts on each GPU; for mixtures of experts")
    in_flight: int = Field(default=256, gt=0, description="responses generated at the same time")
    memory: float = Field(default=0.92, gt=0, le=1, description="share of a GPU's memory that vLLM may use")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: the type of the stored weights"
    )
    quantization: str = Field(
        default="", pattern="^[a-z0-9_-]*$", description="such as fp8; changes the responses, so their rows name it"
    )
    kv_cache_dtype: str = Field(
        default="auto", pattern="^[a-z0-9_]+$", description="such as fp8; changes the responses, so their rows name it"
    )
    max_model_len: int = Field(
        default=0,
        ge=0,
        description="tokens that the engine reserves for a prompt with its response; 0: the longest row's",
    )
    seeds: Literal["row", "engine"] = Field(
        default="row",
        description="row: every response has its own random numbers. engine: those of a program follow from one seed, so that "
        "vLLM may use its fast sampler on GPUs; a response cannot be made again, and its row says so",
    )
    extra: dict[str, str | int | float | bool] = Field(
        default={}, description="other arguments of vLLM's engine, by their names there; the rows name them"
    )
    eager: bool = Field(default=False, description="true: without CUDA graphs; the engine is slower, but starts sooner")
    server: bool = Field(
        default=False,
        description="run vLLM as a local server and send it requests, for models that its offline engine cannot serve",
    )

    @model_validator(mode="after")
    def arguments_fit(self) -> "Vllm":
        if self.data_parallel > 1 and not self.server:
            raise ValueError("data_parallel: needs server = true; workers are the copies of an offline engine")
        if taken := sorted(name for name in self.extra if name in FIXED or name.endswith(("_plugin", "_cls"))):
            raise ValueError(f"extra: {taken[0]} is set by a field of its own, or not allowed")
        if bad := [name for name in self.extra if not re.fullmatch("[a-z][a-z0-9_]*", name)]:
            raise ValueError(f"extra: {bad[0]!r:.80} is not the name of an argument, such as max_num_batched_tokens")
        return self

    @property
    def gpus(self) -> int:
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel


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
        description="tokens: the server accepts token ids and vLLM's sampling fields, so it applies no template; chat:"
        " the server applies its chat template",
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


def choose_engine(name: str, engines: Mapping[str, AnyEngine], default: AnyLocal) -> AnyEngine:
    """The engine of a model: by the model's name, or the default. It runs on the default's work pool, unless it names
    another pool or is an endpoint."""
    engine = engines.get(name, default)
    if isinstance(engine, EndpointEngine) or engine.work_pool or not default.work_pool:
        return engine
    return engine.model_copy(update={"work_pool": default.work_pool})
