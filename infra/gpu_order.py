"""Which waiting program takes which GPUs next: in order, and later ones only where they delay none before them.

What is not known is read against the later program: what runs may end now, what waits may run for ever.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Waiting:
    """A program that waits for `gpus` of the GPUs that it may use."""

    gpus: int
    usable: tuple[str, ...]
    at_least: float | None = None  # seconds that it will run; None: not known
    at_most: float | None = None


def choose_gpus(waiting: Waiting, ahead: Sequence[Waiting], ends: dict[str, float | None]) -> tuple[str, ...]:
    """The GPUs that it may take now, none where it has to wait. `ends` says of each GPU that is taken for how many
    seconds at least it will be; None: not known. `ahead` are those that wait before it."""
    blocked: dict[tuple, Waiting] = {}  # of those that want the same one stands for all
    chosen: tuple[str, ...] = ()
    for one in (*ahead, waiting):
        chosen = find_fitting(one, ends.keys())
        after = ends | dict.fromkeys(chosen, math.inf if one.at_most is None else one.at_most)
        if chosen and any(earliest_begin(other, after) > earliest_begin(other, ends) for other in blocked.values()):
            chosen = ()
        if not chosen:
            blocked[one.gpus, one.usable] = one
        ends = ends | dict.fromkeys(chosen, one.at_least)  # each takes them as soon as it looks
        if not find_fitting(waiting, ends.keys()) and one is not waiting:
            return ()
    return chosen


def find_fitting(waiting: Waiting, taken: Collection[str]) -> tuple[str, ...]:
    """As many free GPUs as it asks for, side by side where there is a choice; none where there are too few."""
    usable, number = waiting.usable, waiting.gpus
    for start in range(0, len(usable) - number + 1, number):
        if not any(name in taken for name in usable[start : start + number]):
            return usable[start : start + number]
    free = [name for name in usable if name not in taken]
    return tuple(free[:number]) if len(free) >= number else ()


def earliest_begin(waiting: Waiting, ends: dict[str, float | None]) -> float:
    """In how many seconds it can begin at the earliest."""
    return sorted(ends.get(name, 0.0) or 0.0 for name in waiting.usable)[waiting.gpus - 1]
