"""Estimates of memory, in bytes, from a model's shape: engines, reward models, trainings. Formulas, not measurements.

Where a number depends on lengths, it is the largest that the settings allow.
"""

from dataclasses import dataclass

from tasks.doctor.shapes import Shape

RESERVED = 4e9  # of a GPU beside weights and cache: the context of CUDA, activations, graphs
PROCESS = 4e9  # host memory of a program with torch loaded
CHECKPOINTS = 3  # the two that are kept, and the one that is being written
OPTIMIZER = 12  # bytes per parameter in a checkpoint: weights and two moments in fp32
FULL = 4  # bytes per parameter of trained weights: fp32
NF4 = 0.55  # bytes per parameter of a base in 4 bits, with its scales
KV_BYTES = {"fp8": 1, "float32": 4}


@dataclass(frozen=True)
class Load:
    """What one program needs: memory on each of its GPUs, and of the host."""

    gpu: float
    host: float
    note: str = ""


def load_of_vllm(
    shape: Shape, gpus: int, split: int, share: float, length: int, fp8: bool, kv: float, gpu_memory: float | None
) -> Load:
    """`split`: the GPUs that one layer is split over. At least one answer of the longest length must fit beside the weights."""
    weights = (shape.parameters * 1.05 if fp8 else shape.weights) / gpus
    # a head's keys and values are on one GPU of the split, and compressed ones (MLA) on each of them
    parts = gpus / split * (1 if shape.latent else min(split, shape.kv_heads))
    per_token = shape.kv_bytes(kv) / parts
    need = (weights + RESERVED + per_token * length) / share
    note = ""
    if gpu_memory and gpu_memory >= need:
        tokens = (gpu_memory * share - RESERVED - weights) / per_token
        note = f"cache for {tokens / 1e3:,.0f}k tokens"
    return Load(need, gpus * PROCESS, note)


def load_of_transformers(shape: Shape, batch: int, length: int) -> Load:
    cache = batch * length * shape.kv_bytes(shape.weights / shape.parameters)
    scores = batch * shape.vocabulary * 8 * 4  # the sampling sorts probabilities in double precision
    return Load(shape.weights + cache + scores + RESERVED, shape.weights + PROCESS)


def load_of_reading(shape: Shape, tokens: int) -> Load:
    """A model that reads texts, for scores or for perplexities."""
    size = shape.weights / shape.parameters
    inside = tokens * (8 * shape.hidden + 3 * shape.intermediate) * size
    return Load(shape.weights + inside + tokens * shape.kv_bytes(size) + RESERVED, shape.weights + PROCESS)


def load_of_training(
    shape: Shape, processes: int, zero: int, offload: bool, tokens: int, checkpointing: bool, base: str
) -> Load:
    """`tokens`: of one device's batch. `base`: "" for a training of all weights, otherwise the base of its adapter."""
    states, waiting = size_states(shape.parameters, processes, zero, offload, base)
    inside = 4 * (12 * shape.hidden + 7 * shape.intermediate)  # of one layer, per token
    residuals = 4 * shape.layers * shape.hidden
    activations = tokens * (residuals + inside if checkpointing else shape.layers * inside)
    gathered = 2 * FULL * shape.vocabulary * shape.hidden if zero == 3 else 0  # the largest layer, twice
    loading = processes * size_base(shape.parameters, base)  # every process loads the model
    saving = (FULL + OPTIMIZER) * shape.parameters if not base else FULL * shape.parameters
    host = max(loading, saving + waiting) + processes * PROCESS
    return Load(states + activations + gathered + RESERVED, host)


def size_states(parameters: float, processes: int, zero: int, offload: bool, base: str) -> tuple[float, float]:
    """Bytes of weights, gradients and moments on each GPU, and in host memory."""
    if base:
        return size_base(parameters, base) / (processes if zero == 3 else 1), 0.0
    match zero, offload:
        case (0, _):
            return 16 * parameters, 0.0
        case (2, False):
            return FULL * parameters + 16 * parameters / processes, 0.0
        case (2, True):
            return FULL * parameters + FULL * parameters / processes, OPTIMIZER * parameters
        case (3, False):
            return 16 * parameters / processes, 0.0
    return FULL * parameters / processes, 16 * parameters


def size_base(parameters: float, base: str) -> float:
    return parameters * (NF4 if base == "nf4" else FULL)


def load_of_reference(shape: Shape, processes: int, tokens: int, base: str) -> Load:
    """Every process holds the whole model, in fp32 or in 4 bits."""
    inside = 4 * tokens * (12 * shape.hidden + 7 * shape.intermediate)
    whole = size_base(shape.parameters, base)
    return Load(whole + inside + RESERVED, processes * (whole + PROCESS))


def size_checkpoints(shape: Shape, base: str) -> float:
    """Disk for the checkpoints of a training; an adapter's are small."""
    return 0.0 if base else CHECKPOINTS * OPTIMIZER * shape.parameters
