"""Scratch folders, named after their process (pid-start-boot-random). A sweep deletes folders of ended processes."""

import hashlib
import os
import shutil
import time
from pathlib import Path
from uuid import uuid4

from infra.processes import boot_identity, process_start

DAY = 86_400


def new_scratch(place: Path) -> Path:
    return place.absolute() / f"{os.getpid()}-{process_start(os.getpid())}-{_here()}-{uuid4().hex}"


def sweep_scratch(place: Path) -> None:
    """Removes the files of killed and failed runs on this machine, except for the logs of the last day."""
    for left in place.glob("[0-9]*-*-*-*"):
        if _in_use(left):
            continue
        old = time.time() - left.stat().st_mtime > DAY
        for entry in left.rglob("*"):
            if entry.is_file() and (old or entry.name != "log.txt"):
                entry.unlink()
        if old:
            shutil.rmtree(left)


def _in_use(left: Path) -> bool:
    """True if the folder's process still runs; the folder's date does not matter, since a training may last for weeks. The
    processes of another machine, container or boot are not visible: their folders count as unused after a week
    without a write."""
    pid, start, where, _ = left.name.split("-", 3)
    if where == _here() != _nowhere():
        return process_start(int(pid)) == start
    newest = max((entry.lstat().st_mtime for entry in (left, *left.rglob("*"))), default=0.0)
    return time.time() - newest < 7 * DAY


def _here() -> str:
    return hashlib.sha256(boot_identity().encode()).hexdigest()[:12]


def _nowhere() -> str:
    """The value of `_here` if there is no /proc."""
    return hashlib.sha256(b"").hexdigest()[:12]
