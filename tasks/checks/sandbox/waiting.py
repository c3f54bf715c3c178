"""Waits for a descriptor with `poll`, because `select` fails for numbers above 1023."""

import select


def is_readable(descriptor: int, seconds: float | None = None) -> bool:
    """True if there is data or an end of file within `seconds`; None waits without a limit."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(None if seconds is None else max(0.0, 1000 * seconds)))
