"""Chooses which waiting program takes which GPUs: in order, unless a later program delays no earlier one.

Unknown times count against the later program: a running program may end now, a waiting one may run for ever.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Waiting:
    """A program that waits for `gpus` of the GPUs that it may use."""

    gpus: int
    usable: tuple[str, ...]
    at_least: float | None = None  # minimum and maximum run time in seconds; None: not known
    at_most: float | None = None


def choose_gpus(waiting: Waiting, ahead: Sequence[Waiting], ends: dict[str, float | None]) -> tuple[str, ...]:
    """The GPUs that `waiting` may take now; empty if it must wait. `ends` maps each taken GPU to the minimum seconds
    until it is free (None: not known). `ahead` are the programs that wait before it."""
    blocked: dict[tuple, Waiting] = {}  # one entry for all programs with the same request
    chosen: tuple[str, ...] = ()
    for one in (*ahead, waiting):
        chosen = find_fitting(one, ends.keys())
        after = ends | dict.fromkeys(chosen, math.inf if one.at_most is None else one.at_most)
        # A program may not take GPUs if that would delay a blocked program before it.
        if chosen and any(earliest_begin(other, after) > earliest_begin(other, ends) for other in blocked.values()):
            chosen = ()
        if not chosen:
            blocked[one.gpus, one.usable] = one
        ends = ends | dict.fromkeys(chosen, one.at_least)  # a program ahead will take these GPUs at its next look
        if not find_fitting(waiting, ends.keys()) and one is not waiting:
            return ()
    return chosen


def find_fitting(waiting: Waiting, taken: Collection[str]) -> tuple[str, ...]:
    """As many free GPUs as the program asks for, adjacent ones if possible; empty if too few are free."""
    usable, number = waiting.usable, waiting.gpus
    for start in range(0, len(usable) - number + 1, number):
        if not any(name in taken for name in usable[start : start + number]):
            return usable[start : start + number]
    free = [name for name in usable if name not in taken]
    return tuple(free[:number]) if len(free) >= number else ()


def earliest_begin(waiting: Waiting, ends: dict[str, float | None]) -> float:
    """The minimum number of seconds until the program can begin."""
    return sorted(ends.get(name, 0.0) or 0.0 for name in waiting.usable)[waiting.gpus - 1]
