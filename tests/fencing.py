"""A program for the lease's tests: makes one stage in a process that can be paused."""

import json
import os
import sys
import time
from pathlib import Path

from infra.checkpoints import Checkpoints
from infra.launch import Launcher
from infra.store import Store
from tasks.execution import Run, ensure
from tasks.stage import How, Step, What, stage
from tasks.training.resumable import commit

POOL = f"fencing/{'a' * 40}"


class Writing(What):
    kind: str


class Signs(How):
    """Where the work says that it has begun, and waits to be told to write."""

    folder: str


@stage("fencing", version="1")
def write(run: Run, what: Writing, how: Signs) -> None:
    me = Path(how.folder) / f"{os.getpid()}"
    me.touch()
    while not me.with_suffix(".go").exists():
        time.sleep(0.05)
    (run.folder / "text").write_text(f"{os.getpid()}")
    if what.kind == "rows":
        part = run.scratch / "part"
        part.write_text(f"{os.getpid()}")
        run.store.append(POOL, part, 1)
    if what.kind == "checkpoint":
        kept = run.scratch / "program" / "checkpoints" / "000000100"
        kept.mkdir(parents=True)
        (kept / "weights").write_text(f"{os.getpid()}")
        stored = Checkpoints(run.store.blobs, run.step.address)
        commit(stored, run.scratch / "program", run.scratch / "committing")
    if what.kind != "artifact":
        me.with_suffix(".written").touch()
        time.sleep(300)


def written(kind: str, folder: str) -> Step:
    return write("fencing", what=Writing(kind=kind), how=Signs(folder=folder))


if __name__ == "__main__":
    url, options, kind, folder = sys.argv[1:]
    store = Store(url, Path(folder) / "cache", json.loads(options))
    ensure(written(kind, folder), store, Launcher(slots=1, threads=1))
