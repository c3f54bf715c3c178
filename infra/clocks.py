"""Compares this machine's clock with the store's: one machine writes the times of leases and files, another reads them."""

import time

from infra.blobs import Blobs
from infra.errors import BadInput

APART = 30.0  # seconds: S3 gives whole seconds, and a lease of 90 s is renewed every 30 s


def clock_difference(blobs: Blobs) -> float:
    """Seconds by which the store's clock is ahead of this machine's (negative: behind); 0 if within the time of one write."""
    before, store_time, after = time.time(), blobs.clock(), time.time()
    return min(store_time - before, 0.0) or max(store_time - after, 0.0)


def describe_clock_difference(blobs: Blobs) -> str | None:
    """An error message of one line if the two clocks differ too much, otherwise None."""
    if abs(apart := clock_difference(blobs)) <= APART:
        return None
    which = "ahead of" if apart > 0 else "behind"
    return f"{blobs.url}: the store's clock is {abs(apart):.0f} s {which} this machine's; correct the wrong clock"


def require_same_clock(blobs: Blobs) -> None:
    if problem := describe_clock_difference(blobs):
        raise BadInput(
            f"{problem}; at most {APART:.0f} s are allowed, since otherwise `fuse gc` could delete files in use"
        )
