"""Waiting for a descriptor, whatever its number (`select` knows only the first thousand)."""

import select


def readable(descriptor: int, seconds: float | None = None) -> bool:
    """Whether there is something to read, or an end, within so many seconds; none: however long it takes."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(None if seconds is None else max(0.0, 1000 * seconds)))
