"""A store that dies: every write of `Folder` and `Bucket`, and every step inside of one, is a point at which the process
may be killed. For tests alone: the product knows nothing of it.

`python -m tests.chaos.fatal ARGUMENTS…` is `fuse ARGUMENTS…` with such a store; CHAOS_DIES_AT is the number of the point.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import infra.folder
from infra.bucket import Bucket
from infra.folder import Folder

WRITES = ("create", "put_file", "compare_and_swap", "delete")


class Points:
    """Counts the points that this process passes, and ends it at one of them."""

    def __init__(self, dies_at: int = 0, note: Callable[..., None] = lambda *_: None):
        self.dies_at, self.note, self.passed, self.lock = dies_at, note, 0, threading.Lock()

    def reach(self, name: str) -> None:
        with self.lock:
            self.passed += 1
            if self.passed == self.dies_at:
                self.note("killed", name)
                os.kill(os.getpid(), signal.SIGKILL)


def arm(points: Points) -> None:
    """For the rest of this process's life. Renewals of a lease are left out: when they come is up to the clock."""
    for kind in (Folder, Bucket):
        for name in WRITES:
            setattr(kind, name, around(getattr(kind, name), points, name))
    for name in ("link", "replace"):
        setattr(infra.folder.os, name, around(getattr(os, name), points, name))
    infra.folder.seal = around(infra.folder.seal, points, "seal")


def around(write: Callable, points: Points, name: str) -> Callable:
    def fatal(*arguments, **keywords):
        points.reach(f"before {name}")
        done = write(*arguments, **keywords)
        points.reach(f"after {name}")
        return done

    return fatal


if __name__ == "__main__":
    from flows.cli.main import main

    arm(Points(int(os.environ["CHAOS_DIES_AT"]), lambda *words: Path(os.environ["CHAOS_DIARY"]).write_text(str(words))))
    sys.exit(main())
