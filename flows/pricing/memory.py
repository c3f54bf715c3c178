"""Disk, host memory and GPU memory of a step, in GB of 1e9 bytes: by the arithmetic of weights, states and rows."""

from dataclasses import dataclass

from flows.pricing.jobs import Job
from flows.pricing.machines import MachineKind
from flows.pricing.model_sizes import anchors
from flows.pricing.work import Work

ROW_BYTES, TOKEN_BYTES = 150, 2.0  # of a stored row, compressed
CHECKPOINT_BYTES, CHECKPOINTS = 12, 3  # per parameter: weights and two moments; kept ones and the next
WORKING = 2e9  # of a program with a model, besides weights and states


@dataclass(frozen=True)
class Space:
    disk: float  # that the artifact needs
    host: float  # memory of one of its programs, or of a group of them
    gpu: float  # memory of each GPU; 0: none


def space_of(job: Job, work: Work, machine: MachineKind) -> Space:
    weights = work.size.parameters if work.size else 0.0
    disk = work.rows * ROW_BYTES + work.tokens * TOKEN_BYTES * (work.kind in ("writes", "asks"))
    host, gpu = WORKING, 0.0
    match work.kind:
        case "trains":
            disk = (
                weights * (2 if job.what.get("precision") == "bf16" else 4) + weights * CHECKPOINT_BYTES * CHECKPOINTS
            )
            host, gpu = training_memory(job, weights)
        case "reads" | "writes":
            held = weights * (4 if job.stage == "reference-log-probs" else 2)
            host, gpu = held + WORKING, held / max(1, machine.gpus) + WORKING
            if work.engine == "vllm" and not machine.on_cores:  # vLLM reserves a fixed share of the memory
                share = getattr(job.how, "memory", 0.92)
                gpu = max(gpu, share * anchors()["gpus"][machine.kind]["memory"] * 1e9)
    return Space(disk / 1e9, host / 1e9, 0.0 if machine.on_cores else gpu / 1e9)


def training_memory(job: Job, weights: float) -> tuple[float, float]:
    """16 bytes per parameter: fp32 weights 4, gradient 4, two moments 8; ZeRO divides them among the processes."""
    processes, zero = getattr(job.how, "processes", 1), getattr(job.how, "deepspeed", None)
    if job.what.get("lora"):
        return processes * 2 * weights + WORKING, 2 * weights + WORKING
    host, gpu = processes * 4 * weights, 16 * weights
    if zero and zero.offload:
        return host + 16 * weights, (4 if zero.zero == 2 else 8 / processes) * weights + WORKING
    if zero:
        gpu = (4 + 12 / processes if zero.zero == 2 else 16 / processes) * weights
    return host + WORKING, gpu + WORKING
