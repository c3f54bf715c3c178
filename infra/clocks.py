"""This machine's clock, held against the store's: leases and ages are times that one machine writes and another one reads."""

import time

from infra.blobs import Blobs
from infra.errors import BadInput

APART = 30.0  # seconds: S3 tells whole seconds, a lease of 90 s is renewed every 30


def clock_difference(blobs: Blobs) -> float:
    """Seconds by which the store's clock is ahead of this machine's; negative: behind; 0 within the time of one write."""
    before, there, after = time.time(), blobs.clock(), time.time()
    return min(there - before, 0.0) or max(there - after, 0.0)


def name_difference(blobs: Blobs) -> str | None:
    """What is wrong, in one line, where the two clocks are too far apart."""
    if abs(apart := clock_difference(blobs)) <= APART:
        return None
    which = "ahead of" if apart > 0 else "behind"
    return f"{blobs.url}: the store's clock is {abs(apart):.0f} s {which} this machine's; set the wrong one right"


def require_same_clock(blobs: Blobs) -> None:
    if problem := name_difference(blobs):
        raise BadInput(
            f"{problem}; at most {APART:.0f} s are allowed, since otherwise files in use could look abandoned"
        )
