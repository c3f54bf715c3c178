"""Folders for work in progress, each with its owner in its name: pid-start-boot-random. What the dead left is swept."""

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
    """Removes what killed and failed runs on this machine left behind, but for the logs of the last day."""
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
    """By its owner, if that is a process that can be seen from here, whatever the folder's date: a training may last for
    weeks. Of another machine, container or boot only the files tell: nothing written for a week means nobody is there."""
    pid, start, where, _ = left.name.split("-", 3)
    if where == _here() != _nowhere():
        return process_start(int(pid)) == start
    newest = max((entry.lstat().st_mtime for entry in (left, *left.rglob("*"))), default=0.0)
    return time.time() - newest < 7 * DAY


def _here() -> str:
    return hashlib.sha256(boot_identity().encode()).hexdigest()[:12]


def _nowhere() -> str:
    """As `_here` where there is no /proc."""
    return hashlib.sha256(b"").hexdigest()[:12]
