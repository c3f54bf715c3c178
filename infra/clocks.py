"""This machine's clock, held against the store's: leases and ages are times that one machine writes and another one reads."""

import time

from infra.blobs import Blobs
from infra.errors import BadInput

APART = 30.0  # seconds: S3 tells whole seconds, a lease of 90 s is renewed every 30


def clock_difference(blobs: Blobs) -> float:
    """Seconds by which the store's clock is ahead of this machine's; negative: behind; 0 within the time of one write."""
    before, there, after = time.time(), blobs.clock(), time.time()
    return min(there - before, 0.0) or max(there - after, 0.0)


def require_same_clock(blobs: Blobs) -> None:
    if abs(apart := clock_difference(blobs)) > APART:
        which = "ahead of" if apart > 0 else "behind"
        raise BadInput(
            f"{blobs.url}: the store's clock is {abs(apart):.0f} s {which} this machine's, at most {APART:.0f} s are "
            "allowed: set the wrong one right, else what is in use looks abandoned"
        )
