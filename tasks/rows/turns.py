"""A share of a pool's rows, for several hosts that make them at once; and whose turn it is to fill a pool.

A prompt's own id says in which share it is, whatever is missing when: hosts that each look by themselves never overlap.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infra.blobs import Blobs
from infra.lease import Lease, hold_lease, is_live, leases_below
from infra.settings import settings
from tasks.execution import Share

POLL = 1.0


@contextmanager
def take_turn(
    blobs: Blobs, pool: str, share: Share | None, on_wait: Callable[[str], object], pause: Callable[[float], None]
) -> Iterator[Lease]:
    """Alone in the pool, or beside the other shares of as many: whoever else is at work in it has rows in common with us.

    Who holds a lease works, or waits for somebody who does: one that has to let others go first holds none meanwhile. So
    runs that queue for a worker block nobody. First goes the whole, then what is cut into fewer shares.
    """
    whole = f"pools/{pool}"
    own = f"{whole}/{share.name}" if share else whole
    order = share.of if share else 0
    first = lambda: order and (is_live(blobs, whole) or any(other.of < order for other in at_work(blobs, whole)))
    beside = lambda: any(other.of > order for other in at_work(blobs, whole))
    while True:
        wait_while(first, on_wait, pause)
        with hold_lease(blobs, own, ttl=settings().lease_seconds, on_wait=on_wait, pause=pause) as held:
            if first():
                continue
            wait_while(beside, on_wait, pause)
            assert held is not None  # without `done` it is always taken
            yield held
            return


def at_work(blobs: Blobs, whole: str) -> list[Share]:
    """The shares of a pool that somebody fills now."""
    cuts = [name.rpartition("/")[2].split("-of-") for name in leases_below(blobs, whole) if is_live(blobs, name)]
    return [Share(number=int(number), of=int(of)) for number, of in cuts]


def wait_while(busy: Callable[[], object], on_wait: Callable[[str], object], pause: Callable[[float], None]) -> None:
    told = False
    while busy():
        if not told:
            on_wait("waiting: another step is making rows of the same pool")
            told = True
        pause(POLL)
