"""The wall time of a plan: steps start when their inputs are there and a slot or enough GPUs are free; and its critical path."""

from collections.abc import Sequence
from typing import Literal

from flows.pricing.estimate import Estimate


def wall_seconds(estimates: Sequence[Estimate], slots: int, gpus: int, of: Literal["p50", "p90"]) -> float:
    """By list scheduling, in the order of the plan. A step takes all its GPUs at once, and at most what there is."""
    done: dict[str, float] = {}
    free_slots, free_gpus = [0.0] * max(1, slots), [0.0] * max(1, gpus)
    for step in estimates:
        ready = max((done.get(address, 0.0) for address in step.needs), default=0.0)
        room = free_slots if step.machine.on_cores else free_gpus
        asked = min(len(room), max(1, step.machine.gpus) * step.programs)
        room.sort()
        begin = max(ready, room[asked - 1])
        rounds = max(
            1.0, max(1, step.machine.gpus) * step.programs / asked
        )  # programs that find no room run after the others
        end = begin + getattr(step.wall, of) * rounds
        room[:asked] = [end] * asked
        done[step.address] = end
    return max(done.values(), default=0.0)


def critical_path(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The chain of steps with the longest wall time, first step first."""
    by_address, longest = {step.address: step for step in estimates}, {}
    before: dict[str, str | None] = {}
    for step in estimates:
        inputs = [address for address in step.needs if address in longest]
        before[step.address] = max(inputs, key=longest.__getitem__, default=None)
        longest[step.address] = step.wall.p50 + max((longest[address] for address in inputs), default=0.0)
    path: list[Estimate] = []
    at = max(longest, key=longest.__getitem__, default=None)
    while at is not None:
        path.insert(0, by_address[at])
        at = before[at]
    return path
