"""What vLLM's engine is told, offline and as a server alike. Runs in vLLM's Python."""

from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]


def engine_arguments(model: str, how: dict, context: int) -> dict:
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
        "generation_config": "vllm",  # the model's own sampling defaults decide nothing
        "seed": 0,
        "disable_log_stats": True,
        **on_cpu(context),
    }


def on_cpu(context: int) -> dict:
    """Blocks of 128 tokens never share a short prompt. And no prompt may be read in pieces: a seeded request that is (vLLM 0.32)
    rewinds its generator, which torch's generators cannot do on a CPU, and the engine dies."""
    if not current_platform.is_cpu():
        return {}
    return {"block_size": 32, "enable_chunked_prefill": False, "max_num_batched_tokens": max(context, 4096)}


def as_words(arguments: dict) -> list[str]:
    """The same on a command line."""
    words = []
    for name, value in arguments.items():
        option = name.replace("_", "-")
        words += (
            [f"--{option}" if value else f"--no-{option}"] if isinstance(value, bool) else [f"--{option}", str(value)]
        )
    return words
