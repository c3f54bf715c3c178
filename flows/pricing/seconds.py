"""Seconds of all programs of a step together, from published speeds. `estimate.py` corrects them by the store's evidence."""

from flows.pricing.machines import MachineKind
from flows.pricing.model_sizes import anchors
from flows.pricing.work import Work

ROW_SECONDS = 4e-6  # a row of numbers: 3,000,000 responses become pairs in 5 to 7 s
ROWS_START = 0.3
CHECKED_ROW_SECONDS = {"by-gold": 0.02, "exact": 1e-4}  # `make bench-checks`: 10 ms beyond the program
ASKED_PER_SECOND = 8.0  # requests that an endpoint answers, all at once


def anchor_seconds(work: Work, machine: MachineKind, programs: int, checks: str = "") -> float:
    """`checks`: the kind of the checks, if the rows are checked."""
    match work.kind:
        case "nothing":
            return ROWS_START
        case "asks":
            return ROWS_START + work.rows / ASKED_PER_SECOND
        case "rows":
            return ROWS_START + work.rows * CHECKED_ROW_SECONDS.get(checks, ROW_SECONDS)
    start = anchors()["engine"]["start"]
    if machine.on_cores:
        return start["cpu"] * programs + work.operations / (machine.threads * anchors()["cores"]["gigaflops"] * 1e9)
    if work.kind == "writes":
        return start[work.engine] * programs + work.tokens / write_speed(work, machine)
    use = anchors()["use"][work.engine or {"reads": "reading", "trains": "training"}[work.kind]]
    begin = start["training" if work.kind == "trains" else "reading"] * programs
    return begin + work.operations / (peak(machine) * use)


def peak(machine: MachineKind) -> float:
    """Floating-point operations per second of all GPUs of a program."""
    return anchors()["gpus"][machine.kind]["teraflops"] * 1e12 * machine.gpus


def write_speed(work: Work, machine: MachineKind, in_flight: int = 256) -> float:
    """Tokens per second of one copy of the weights. A decoding step reads all weights and the cache of every sequence, or is
    limited by arithmetic."""
    assert work.size is not None  # only models write
    gpu, use, engine = (anchors()[name] for name in ("gpus", "use", "engine"))
    plain = work.engine == "transformers"
    in_flight = 64 if plain else in_flight
    split = engine["tensor_parallel"] if machine.gpus > 1 else 1.0
    cache = 131e3 * (work.size.parameters / 8e9) ** 0.44  # bytes a token: 131 kB at 8B, 328 kB at 70B
    moved = 2 * work.size.parameters + in_flight * engine["context"] * cache
    bandwidth = gpu[machine.kind]["bandwidth"] * 1e12 * machine.gpus * split
    memory_time = moved / (bandwidth * use["sampling_bandwidth"])
    arithmetic_time = 2 * work.size.active * in_flight / (peak(machine) * split * use["sampling_arithmetic"])
    host = engine["plain_seconds" if plain else "host_seconds"]
    return in_flight / (max(memory_time, arithmetic_time) + host)
