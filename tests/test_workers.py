"""Several programs make a pool's rows: none twice, none lost, whatever dies, and one failure does not stop the others."""

import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

import pandas as pd
import pytest

from infra.errors import BadInput, OutOfMemory, ProgramFailed
from infra.launch import Launcher
from infra.lease import hold_lease
from tasks.execution import ensure_artifact
from tasks.rows.pool import make_missing, read_pool, write_table
from tasks.rows.workers import Workers, deal_rows
from tasks.stage import How, What, stage
from tests.squares import SCHEMA
from tests.workplace import Workplace


class Numbers(What):
    count: int


class Fate(How):
    workers: int = 1
    restarts: int = 0
    dies_on: tuple[int, ...] = ()
    starves_on: tuple[int, ...] = ()
    always: tuple[int, ...] = ()
    refuses: tuple[int, ...] = ()
    seconds: float = 0
    deaths: str = ""


@stage("worker squares", version="1", rows=lambda what, inputs: {"squares": "by workers"})
def squares(run, what, how):
    wanted = pd.DataFrame({"number": range(what.count)})
    workers = Workers("tests.slow_squares", workers=how.workers, restarts=how.restarts)
    make_missing(run, wanted, ["number"], workers, how.model_dump(), exclusive=True)
    write_table(run, read_pool(run, run.step.pool, ["number"]).sort_values("number"), SCHEMA, "squares.parquet")


@pytest.fixture
def workplace(workplace):
    """The same, with room for two programs."""
    return Workplace(workplace.folder, Launcher(slots=2, threads=1))


def step(workplace, count: int, **fate):
    return squares(what=Numbers(count=count), how=Fate(deaths=str(workplace.folder), **fate))


def committed(workplace, of) -> int:
    return sum(part.rows for part in workplace.store.parts(of.pool))


def test_two_workers_at_once_make_every_row_once(workplace):
    both = step(workplace, 40, workers=2, seconds=0.02)
    table = workplace.table(both, "squares.parquet")
    assert table["square"].tolist() == [number**2 for number in range(40)]
    assert table["place"].nunique() == 2 and committed(workplace, both) == 40


@pytest.mark.parametrize("dies", [False, True])
def test_two_steps_at_once_that_share_a_pool_make_no_row_twice(workplace, dies):
    """As n = 5 and n = 8 of a source do, in two runs. Where the first fails, the other makes what it left."""
    fate = {"dies_on": (7,), "always": (7,)} if dies else {}
    five, eight = step(workplace, 20, seconds=0.05, **fate), step(workplace, 30, seconds=0.05)
    said = []
    watch = lambda step, doing, *numbers: said.append(doing)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(ensure_artifact, five, workplace.store, workplace.launcher)
        while not committed(workplace, five):
            time.sleep(0.02)
        second = threads.submit(ensure_artifact, eight, workplace.store, workplace.launcher, watch)
    assert isinstance(first.exception(), ProgramFailed) is dies
    assert second.result().counts["rows_found"] == (6 if dies else 20)
    assert committed(workplace, five) == 30 and any("waiting: process" in doing for doing in said)


def test_who_lacks_no_row_waits_for_nobody(workplace):
    workplace.made(step(workplace, 3))
    with hold_lease(workplace.store.blobs, f"pools/{step(workplace, 3).pool}"):
        assert workplace.made(step(workplace, 2)).counts["rows_found"] == 2


def test_what_was_read_before_the_turn_is_not_read_again_in_it(workplace, monkeypatch):
    workplace.made(step(workplace, 6))
    before, read = {entry.name for entry in workplace.store.parts(step(workplace, 6).pool)}, Counter()
    fetch = workplace.store.fetch_part
    monkeypatch.setattr(workplace.store, "fetch_part", lambda entry: read.update([entry.name]) or fetch(entry))
    assert workplace.made(step(workplace, 9)).counts["rows_made"] == 3
    assert len(before) == 2 and {read[name] for name in before} == {2}  # what is missing, and then the extract


def test_shares_are_disjoint_and_keep_prompts_together():
    rows = pd.DataFrame({"prompt": [name for name in "abcdefg" for _ in range(5)], "sample": [*range(5)] * 7})
    shares = deal_rows(rows, 3)
    assert pd.concat(shares).sort_index().equals(rows)
    assert [share["prompt"].nunique() for share in shares] == [3, 2, 2]
    assert not set(shares[0]["prompt"]) & set(shares[1]["prompt"])
    assert len(deal_rows(rows[:5], 3)) == 1  # nothing is left for the others: they are not started


def test_an_engine_that_dies_is_started_again_and_goes_on_where_it_was(workplace):
    dying = step(workplace, 20, restarts=2, dies_on=(7, 13))
    made = workplace.made(dying)
    assert made.counts["restarts"] == 2 and committed(workplace, dying) == 20
    assert workplace.table(dying, "squares.parquet")["number"].tolist() == [*range(20)]


def test_an_engine_that_keeps_dying_is_given_up_with_its_log(workplace):
    dying = step(workplace, 20, restarts=2, dies_on=(7,), always=(7,))
    with pytest.raises(ProgramFailed, match=r"(?s)killed by signal 9.*; the end of .*the last words before 7"):
        workplace.made(dying)
    assert committed(workplace, dying) == 6
    assert workplace.made(step(workplace, 20)).counts["rows_found"] == 6


def test_a_program_without_enough_memory_is_not_restarted(workplace):
    """A restart would load the model again, and fail at the same row: this program would even pass the row."""
    starving = step(workplace, 20, restarts=2, starves_on=(7,))
    with pytest.raises(OutOfMemory, match=r"^out of memory at 7: lower squares.batch_size$"):
        workplace.made(starving)
    assert committed(workplace, starving) == 6


@pytest.mark.parametrize(
    ("fate", "problem", "said"),
    [
        ({"refuses": (0,), "restarts": 5}, BadInput, "0 is not a number"),
        ({"dies_on": (0,), "always": (0,), "restarts": 1}, ProgramFailed, "the last words before 0"),
    ],
)
def test_a_worker_that_fails_for_good_does_not_stop_the_other(workplace, fate, problem, said):
    failing = step(workplace, 30, workers=2, seconds=0.02, **fate)
    with pytest.raises(problem, match=said):
        workplace.made(failing)
    assert committed(workplace, failing) == 15  # all of the other's
    assert workplace.made(step(workplace, 30)).counts["rows_made"] == 15


def test_an_interrupted_run_leaves_no_program_behind(workplace):
    slow = step(workplace, 30, workers=2, seconds=60)

    def observe(step, doing, done, total, unit):
        if len([*workplace.folder.rglob("pid")]) == 2:
            raise KeyboardInterrupt

    run = workplace.run(slow)
    run.observe = observe
    with pytest.raises(KeyboardInterrupt):
        squares.work(run, slow.what, slow.how)
    for file in workplace.folder.rglob("pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.heavy)])
def test_engines_killed_at_random_leave_the_unbroken_rows(workplace, kills):
    whole = step(workplace, 30 * kills, workers=2, restarts=kills, seconds=0.08)
    ended, random_ = threading.Event(), random.Random(kills)
    killed = []

    def kill() -> None:
        while not ended.wait(random_.uniform(0.3, 0.9)) and len(killed) < kills:
            files = [*workplace.folder.rglob("program-*/pid")]
            if files and slay(random_.choice(files)):
                killed.append(time.monotonic())

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        made = workplace.made(whole)
    finally:
        ended.set()
        killer.join()
    assert made.counts["restarts"] == len(killed) == kills
    assert workplace.table(whole, "squares.parquet")["number"].tolist() == [*range(30 * kills)]
    assert committed(workplace, whole) == 30 * kills  # no row was made twice


def slay(file: Path) -> bool:
    """Whether it was this kill that ended the program which wrote this, which is ours: one that is stopped has not ended."""
    with suppress(ProcessLookupError, FileNotFoundError, ValueError):
        pid = int(file.read_text())
        file.unlink()
        os.kill(pid, signal.SIGSTOP)
        while (state := state_of(pid)) not in "TZ":
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        return state == "T"
    return False


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_observers_of_workers_find_the_context_that_the_step_runs_in(workplace):
    """Prefect keeps there which server to tell, and which run is told of."""
    server, seen = ContextVar("server"), []
    server.set("here")
    look = lambda step, doing, *numbers: seen.append((doing, server.get("nowhere")))
    ensure_artifact(step(workplace, 4, workers=2), workplace.store, workplace.launcher, look)
    assert ("running", "here") in seen and {place for _, place in seen} == {"here"}
