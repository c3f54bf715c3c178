"""Hosts whose clocks are two minutes ahead or behind make one chain together; housekeeping with such a clock deletes nothing.

`python -m tests.attacks.clocks [file | s3]`
"""

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from flows.upkeep.garbage import collect_garbage
from infra.errors import BadInput
from infra.settings import settings
from tests.attacks.places import seaweed
from tests.chaos.kills import STEPS, Attack, fork, redone, unbroken, unfenced
from tests.patience import STILL


def shift(seconds: float) -> None:
    """For the rest of this process's life; botocore signs with the same clock, as on a machine that is wrong."""
    right = time.time
    time.time = lambda: right() + seconds


def main(kind: str = "file") -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, options = stack.enter_context(seaweed(folder)) if kind == "s3" else (str(folder / "store"), {})
        os.environ |= {"FUSE_LEASE_SECONDS": "5", "FUSE_WORKSPACE": str(folder / "workspace")}
        settings.cache_clear()
        expected, _ = unbroken(Attack(f"{url}/calm", folder / "calm", options))
        attacked = Attack(f"{url}/skewed", folder / "skewed", options)

        def run(seconds: float) -> None:
            shift(seconds)
            attacked._run(0)

        hosts = [fork.Process(target=run, args=(seconds,)) for seconds in (-120, 120, 0, -120, 120, 0)]
        for host in hosts:
            host.start()
        for host in hosts:
            host.join(STILL)
        found = attacked.visible()
        print("exit codes", [host.exitcode for host in hosts])
        assert [host.exitcode for host in hosts] == [0] * len(hosts), attacked.diary.lines()[-3:]
        assert {address: manifest.content for address, manifest in found.items()} == expected
        made = [line for line in attacked.diary.lines() if line.startswith("done")]
        assert len(made) == len(STEPS) and unfenced(attacked.diary, found) == [] and redone(attacked.diary) == []
        print(f"six hosts, clocks of -120, 0 and +120 s: {len(made)} steps, each made once")
        right = time.time
        for seconds in (-120, 120):
            time.time = lambda seconds=seconds: right() + seconds
            try:
                collect_garbage(attacked.store(), [], days=0, delete=True)
                raise AssertionError("gc deleted with a wrong clock")
            except BadInput as problem:
                print(f"gc at {seconds:+} s: {problem}")
            finally:
                time.time = right
        assert attacked.contents() == expected


if __name__ == "__main__":
    main(*sys.argv[1:])
