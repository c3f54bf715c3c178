"""Decides which runs may fill a pool at the same time: one run, or several hosts with one share of the rows each.

A prompt's share follows from its id alone, so the shares of several hosts never overlap.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infra.blobs import Blobs
from infra.errors import LeaseLost
from infra.lease import Lease, epoch_of, hold_lease, is_live, leases_below
from infra.settings import settings
from tasks.execution import Share

POLL = 1.0


class Turn:
    """The fence of a turn: its lease, and that no other cut had a turn since. A process that was paused for longer than its
    lease may still have it, since other cuts have leases of other names; another process may have made its rows."""

    def __init__(self, held: Lease, others: Callable[[], dict[str, int]]):
        self.held, self.others, self.lapses, self.seen = held, others, held.lapses, others()

    def check(self) -> None:
        self.held.check()
        if self.held.lapses != self.lapses and self.others() != self.seen:
            raise LeaseLost("this process did not renew its lease in time, and another process made rows of its pool")
        self.lapses = self.held.lapses

    def confirm(self) -> None:
        self.held.confirm()


@contextmanager
def take_turn(
    blobs: Blobs, pool: str, share: Share | None, on_wait: Callable[[str], object], pause: Callable[[float], None]
) -> Iterator[Turn]:
    """Exclusive access to a pool or to one share of it. Shares of the same cut run together; all others wait, since they
    have rows in common.

    The whole pool goes first, then cuts into fewer shares. A run that must let others go first holds no lease while it
    waits. So every lease holder works or waits for a working run, and a run that waits for a worker blocks no other run.
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
            assert held is not None  # hold_lease yields None only if `done` is given
            yield Turn(held, lambda: other_turns(blobs, whole, share))
            return


def other_turns(blobs: Blobs, whole: str, mine: Share | None) -> dict[str, int]:
    """How many turns each other cut of the pool has had: those of shares beside `mine` have no rows in common with it."""
    names = [whole, *leases_below(blobs, whole)] if mine else leases_below(blobs, whole)
    beside = f"-of-{mine.of}" if mine else "beside no share"
    return {name: epoch_of(blobs, name) for name in names if not name.endswith(beside)}


def at_work(blobs: Blobs, whole: str) -> list[Share]:
    """The shares of a pool whose leases are held now."""
    cuts = [name.rpartition("/")[2].split("-of-") for name in leases_below(blobs, whole) if is_live(blobs, name)]
    return [Share(number=int(number), of=int(of)) for number, of in cuts]


def wait_while(busy: Callable[[], object], on_wait: Callable[[str], object], pause: Callable[[float], None]) -> None:
    reported = False
    while busy():
        if not reported:
            on_wait("waiting: another step is making rows of the same pool")
            reported = True
        pause(POLL)
