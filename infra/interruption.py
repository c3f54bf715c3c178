"""Counts SIGINT and SIGTERM at most once per second: a second signal within a second belongs to the first."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

QUIET = 1.0  # seconds


@contextlib.contextmanager
def one_a_second(last: float = -math.inf) -> Iterator[None]:
    """Ignores a signal that comes less than a second after the last counted one; `last` is the time of that one, on the
    monotonic clock. GNU timeout signals a program and then its group, so one interruption sends two signals.

    Only handlers written in Python are changed, and only in the main thread, since no other thread receives signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    kept = {number: handler for number, handler in kept.items() if callable(handler)}

    def count_signal(number: int, frame) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= QUIET:
            last = now
            kept[number](number, frame)

    for number in kept:
        signal.signal(number, count_signal)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
