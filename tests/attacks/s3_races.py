"""Sixteen processes race for the same names, values, leases and artifacts in a real S3 server.

`python -m tests.attacks.s3_races`
"""

import multiprocessing
import tempfile
import time
from pathlib import Path

from infra.lease import hold_lease
from infra.store import Store
from tests.attacks.places import seaweed
from tests.infra.test_store import draft, folder_of

RACERS, ROUNDS = 16, 12
fork = multiprocessing.get_context("fork")


def race(work, racers: int = RACERS) -> list:
    answers, start = fork.Queue(), fork.Barrier(racers)

    def act(me: int) -> None:
        start.wait()
        answers.put((me, work(me)))

    children = [fork.Process(target=act, args=(me,)) for me in range(racers)]
    for child in children:
        child.start()
    found = [answers.get(timeout=600) for _ in children]
    for child in children:
        child.join()
    return [answer for _, answer in sorted(found)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, seaweed(Path(folder)) as (url, options):
        store = lambda me=0: Store(url, Path(folder) / f"cache-{me}", options)
        began = time.monotonic()
        won = race(lambda me: [store().blobs.create(f"create/{n}", b"%d" % me) for n in range(ROUNDS)])
        assert all(sum(each[n] for each in won) == 1 for n in range(ROUNDS))
        print(f"create: {ROUNDS} rounds of {RACERS}, one winner each, {time.monotonic() - began:.0f} s")

        def add(me: int) -> int:
            blobs, added = store().blobs, 0
            while added < 4:
                old = blobs.read("counter")
                added += blobs.compare_and_swap("counter", old, b"%d %d.%d" % (int(old.split()[0]) + 1, me, added))
            return added

        store().blobs.create("counter", b"0 x")
        total, began = sum(race(add, 8)), time.monotonic()
        assert int(store().blobs.read("counter").split()[0]) == total == 32
        print("compare and swap: 8 processes, 32 additions, none lost")

        def alone(me: int) -> bool:
            blobs = store().blobs
            with hold_lease(blobs, "one", ttl=20, poll=0.1):
                mine = blobs.create("inside", b"%d" % me)
                time.sleep(0.05)
                blobs.delete("inside")
            return mine

        assert race(alone, 8) == [True] * 8
        print("lease: 8 processes, never two inside")

        def publish(me: int) -> str:
            made = folder_of(Path(folder) / f"out-{me}", {"a": b"%d" % me * 1000, "b": b"same"})
            return store(me).publish(made, draft(attempt=f"{me}")).attempt

        names = race(publish)
        assert len(set(names)) == 1 and store().verify(store().manifest("score_responses", "abc123")) == []
        print(f"publish: {RACERS} processes, one manifest for all, whole")

        def append(me: int) -> list[str]:
            parts = [folder_of(Path(folder) / f"p-{me}", {f"{n}": b"%d %d" % (me * (n % 2), n)}) for n in range(6)]
            return [store(me).append("rows/aa", parts[n] / f"{n}", 1).name for n in range(6)]

        written = {name for names in race(append) for name in names}
        assert {entry.name for entry in store().parts("rows/aa")} == written
        print(f"append: {RACERS} processes, {len(written)} different parts, none lost")


if __name__ == "__main__":
    main()
