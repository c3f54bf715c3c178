"""Sweeping spares the living, however long they take, and knows its dead by more than their number."""

import os
import subprocess
import sys
import time
from uuid import uuid4

import pytest

from infra.processes import process_start
from infra.scratch import new_scratch, sweep_scratch

DAYS = [0, 0.9, 1.1, 9]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "scratch"


@pytest.fixture
def leave(place):
    """Leaves a scratch folder behind, as a run of some process did some days ago."""

    def left(days: float, pid: int | None = None, start: str | None = None, where: str | None = None):
        mine = new_scratch(place).name.split("-")
        given = (str(pid) if pid else mine[0], start or mine[1], where or mine[2], uuid4().hex)
        folder = place / "-".join(given)
        for name in ("artifact/model.bin", "program/log.txt", "program/part-1.parquet"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("bytes")
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (time.time() - 86_400 * days,) * 2)
        return folder

    return left


def files(folder) -> set[str]:
    return {file.name for file in folder.rglob("*") if file.is_file()}


ALL = {"model.bin", "log.txt", "part-1.parquet"}


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("days", DAYS)
def test_whatever_a_running_process_has_is_kept(leave, place, days):
    """A training may take a week; its folder's own date is that of its start."""
    folder = leave(days)
    sweep_scratch(place)
    assert files(folder) == ALL


@pytest.mark.parametrize("owner", [{"pid": dead()}, {"start": "1"}], ids=["dead", "its number has another owner now"])
def test_of_the_dead_the_logs_of_the_last_day_are_kept_and_nothing_else(leave, place, owner):
    fresh, old = leave(0.9, **owner), leave(1.1, **owner)
    sweep_scratch(place)
    assert files(fresh) == {"log.txt"} and not old.exists()


def test_another_machines_files_are_kept_for_a_week(leave, place):
    """Its processes cannot be seen from here: the same number means nothing."""
    silent, alive = (leave(9, where="0123456789ab") for _ in range(2))
    os.utime(alive / "program" / "log.txt")
    sweep_scratch(place)
    assert not silent.exists() and files(alive) == ALL


def test_nothing_else_is_touched_and_a_missing_folder_not_minded(place):
    sweep_scratch(place)
    (place / "notes").mkdir(parents=True)
    (place / "notes" / "mine.txt").write_text("keep")
    sweep_scratch(place)
    assert files(place) == {"mine.txt"}


def test_a_folder_says_whose_it_is(place):
    assert new_scratch(place).name.startswith(f"{os.getpid()}-{process_start(os.getpid())}-")
