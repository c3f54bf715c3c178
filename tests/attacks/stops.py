"""SIGSTOP, longer than the lease, then SIGCONT, of the holder of each kind of lease: a pool, housekeeping, a flow's record.

Steps, rows and checkpoints: `tests/test_fencing.py`, `tests/chaos`. `python -m tests.attacks.stops [file | s3]`
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from flows.upkeep import garbage
from infra.blobs import Blobs
from infra.errors import LeaseLost
from infra.settings import settings
from infra.store import Store
from infra.uses import in_use, list_used
from tasks.execution import Share
from tasks.rows.turns import take_turn
from tests.attacks.places import seaweed
from tests.chaos.chain import chain
from tests.infra.test_store import draft, folder_of

fork = multiprocessing.get_context("fork")
POOL = "rows/" + "a" * 40


def paused(work, meanwhile) -> str:
    """Runs `work` in a process, stops it where it says that it holds its lease, does `meanwhile`, wakes it: how it ends."""
    answers, holds = fork.Queue(), fork.Event()

    def act() -> None:
        try:
            work(lambda: (holds.set(), time.sleep(0.5)))
            answers.put("done")
        except BaseException as problem:
            answers.put(type(problem).__name__)

    child = fork.Process(target=act)
    child.start()
    assert holds.wait(600)
    os.kill(child.pid, signal.SIGSTOP)
    try:
        meanwhile()
    finally:
        os.kill(child.pid, signal.SIGCONT)
    answer = answers.get(timeout=600)
    child.join()
    return answer


def main(kind: str = "file") -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, options = stack.enter_context(seaweed(folder)) if kind == "s3" else (str(folder / "store"), {})
        os.environ |= {"FUSE_LEASE_SECONDS": "1", "FUSE_WORKSPACE": str(folder / "workspace")}
        settings.cache_clear()
        store = lambda: Store(url, folder / f"cache-{os.getpid()}", options)

        def append(held, name: str) -> None:
            (folder / name).write_text(name)
            store().fenced(held).append(POOL, folder / name, 1)

        for label, mine, theirs in (
            ("a pool", None, None),
            ("a share", Share(number=1, of=2), Share(number=1, of=2)),
            ("a pool before a share", None, Share(number=1, of=2)),
            ("a share before a pool", Share(number=1, of=2), None),
        ):
            begin = store()

            def hold(sign, share=mine) -> None:
                with take_turn(store().blobs, POOL, share, print, time.sleep) as held:
                    sign()
                    append(held, "late")

            def follow(share=theirs) -> None:
                with take_turn(store().blobs, POOL, share, lambda text: None, time.sleep) as held:
                    append(held, "successor")
                    time.sleep(1)

            ended, before = paused(hold, follow), len(begin.parts(POOL))
            print(f"{label}: the paused holder ended with {ended}; {before} part(s) in the pool")
            assert ended == LeaseLost.__name__ and before == 1
            for part in begin.parts(POOL):
                begin.blobs.delete(part.path)

        address = f"wrpo/{'ab' * 20}"
        made = folder_of(folder / "out", {"a": b"a" * 1000})
        store().publish(made, draft("ab" * 20, stage="wrpo"))
        remove = garbage.remove_address

        def collect(sign) -> None:
            garbage.remove_address = lambda blobs, one: (sign(), remove(blobs, one))
            garbage.collect_garbage(store(), [], days=0, delete=True)

        class Found:
            """A step that needs the artifact."""

            pool = None

        Found.address = address

        def need() -> None:
            with in_use(store().blobs, [Found]):
                assert store().manifest(*address.split("/"))

        ended = paused(collect, need)
        assert ended == LeaseLost.__name__ and store().manifest(*address.split("/"))
        print(f"housekeeping: ended with {ended}, and the artifact that a flow needs is there")

        def flow(sign) -> None:
            with in_use(store().blobs, chain_steps()):
                sign()
                time.sleep(2)

        def look() -> None:
            time.sleep(3)  # its lease has expired
            blobs = Blobs(url, options)
            assert chain_steps()[0].address in list_used(blobs, blobs.clock())

        ended = paused(flow, look)
        assert ended == "done" and list_used(Blobs(url, options), Blobs(url, options).clock()) == set()
        print("a flow: paused for longer than its lease it keeps what it needs, and goes on")


def chain_steps() -> list:
    from tasks.stage import lineage

    return lineage(chain())


if __name__ == "__main__":
    main(*sys.argv[1:])
