"""Arguments of vLLM's engine, the same offline and as a server. Runs in vLLM's Python."""

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
        "generation_config": "vllm",  # ignores the sampling defaults in the model's folder
        "seed": 0,
        "disable_log_stats": True,
        **on_cpu(context),
    }


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
