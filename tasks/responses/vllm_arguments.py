"""Arguments of vLLM's engine, the same offline and as a server, and the engine's name in rows. Runs in vLLM's Python."""

from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]


def engine_arguments(model: str, how: dict, context: int, seed: int = 0) -> dict:
    """`seed`: of the engine; only requests without a seed of their own depend on it."""
    return {
        "model": model,
        "tokenizer": model,
        "dtype": how["dtype"],
        "max_model_len": context,
        "max_num_seqs": how["in_flight"],
        "tensor_parallel_size": how["tensor_parallel"],
        "gpu_memory_utilization": how["memory"],
        "enforce_eager": how["eager"],
        "enable_prefix_caching": True,
        "generation_config": "vllm",  # ignores the sampling defaults in the model's folder
        "seed": seed,
        "disable_log_stats": True,
        **on_cpu(context),
        **chosen_arguments(how),
    }


def chosen_arguments(how: dict) -> dict:
    """The arguments that differ from vLLM's defaults."""
    chosen = {
        "pipeline_parallel_size": how["pipeline_parallel"],
        "data_parallel_size": how["data_parallel"],
        "enable_expert_parallel": how["expert_parallel"],
        "quantization": how["quantization"],
        "kv_cache_dtype": how["kv_cache_dtype"],
    }
    usual = {"pipeline_parallel_size": 1, "data_parallel_size": 1, "enable_expert_parallel": False}
    usual |= {"quantization": "", "kv_cache_dtype": "auto"}
    return {name: value for name, value in chosen.items() if value != usual[name]} | how["extra"]


def on_cpu(context: int) -> dict:
    """Settings for a CPU. Smaller blocks, because blocks of 128 tokens never share a short prompt. No chunked prefill: vLLM
    0.32 rewinds the generator of a seeded request that it reads in chunks, and torch cannot do that on a CPU: the engine dies."""
    if not current_platform.is_cpu():
        return {}
    return {"block_size": 32, "enable_chunked_prefill": False, "max_num_batched_tokens": max(context, 4096)}


def as_words(arguments: dict) -> list[str]:
    """The arguments as command-line options."""
    words = []
    for name, value in arguments.items():
        option = name.replace("_", "-")
        words += (
            [f"--{option}" if value else f"--no-{option}"] if isinstance(value, bool) else [f"--{option}", str(value)]
        )
    return words
