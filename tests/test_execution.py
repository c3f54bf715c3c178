"""A step is made once, by whoever comes first; a failure leaves nothing that counts; sweeping spares the living."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from infra.errors import BadInput
from tasks.execution import ensure, sweep_scratch
from tasks.stage import How, What, stage


class Word(What):
    word: str


class Diary(How):
    """Where the work writes down that it was done, and whether it is to fail."""

    file: str
    fails: bool = False
    seconds: float = 0


@stage("spelling", version="3")
def spell(run, what, how, before=()):
    with open(how.file, "a") as diary:
        diary.write(f"{what.word}\n")
    (run.folder / "deep").mkdir()
    (run.folder / "deep" / "word.txt").write_text(what.word)
    time.sleep(how.seconds)
    if how.fails:
        raise BadInput(f"{what.word}: cannot be spelt")
    run.count(letters=len(what.word))


def spelling(workplace, word: str = "cat", before=(), **how):
    return spell(
        "spelling · a word", what=Word(word=word), how=Diary(file=str(workplace.folder / "diary"), **how), before=before
    )


def diary(workplace) -> list[str]:
    return (workplace.folder / "diary").read_text().split()


def scratch(workplace):
    return list((workplace.folder / "workspace" / "scratch").iterdir())


def test_a_step_is_made_once_and_found_afterwards(workplace):
    step, seen = spelling(workplace), []
    observe = lambda step, doing, *numbers: seen.append(doing)
    made = ensure(step, workplace.store, workplace.launcher, observe)
    found = ensure(spelling(workplace), workplace.store, workplace.launcher, observe)
    assert found == made and diary(workplace) == ["cat"] and seen == ["running", "done", "found"]
    assert (workplace.store.fetch(made) / "deep" / "word.txt").read_text() == "cat"
    assert scratch(workplace) == []


def test_the_manifest_says_what_it_was_made_of_and_with(workplace):
    step = spelling(workplace, "cats", before=[spelling(workplace)])
    made = workplace.made(step)
    assert (made.stage, made.version, made.fingerprint, made.label) == ("spelling", "3", step.fingerprint, step.label)
    assert made.what == {"word": "cats"} and made.counts == {"letters": 4}
    (before,) = made.inputs["before"]
    assert before.fingerprint == spelling(workplace).fingerprint
    assert {"commit", "python", "torch", "machine"} <= made.provenance.keys()
    json.dumps(made.provenance)


def test_a_failure_leaves_no_manifest_and_the_next_try_makes_the_step(workplace):
    with pytest.raises(BadInput, match="cat: cannot be spelt"):
        workplace.made(spelling(workplace, fails=True))
    assert workplace.store.manifests("spelling") == [] and len(scratch(workplace)) == 1
    assert workplace.made(spelling(workplace)).counts == {"letters": 3}


def test_two_who_want_the_same_step_at_once_make_it_once(workplace):
    step, seen, found = spelling(workplace, seconds=0.5), [], []
    observe = lambda step, doing, *numbers: seen.append(doing)
    want = lambda: found.append(ensure(step, workplace.store, workplace.launcher, observe))
    threads = [threading.Thread(target=want) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] and diary(workplace) == ["cat"]
    assert any(doing.startswith(f"waiting for process {os.getpid()} ") for doing in seen)


@pytest.fixture
def leave(tmp_path):
    """Leaves a scratch folder behind, as a run of some process did some hours ago."""

    def left(process: int, hours: float):
        folder = tmp_path / "scratch" / f"{process}-{hours}"
        for name in ("artifact/model.bin", "program/log.txt", "program/part-1.parquet"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("bytes")
        os.utime(folder, (time.time() - 3600 * hours,) * 2)
        return folder

    return left


def files(folder) -> set[str]:
    return {file.name for file in folder.rglob("*") if file.is_file()}


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("hours", [0, 1, 23, 25, 24 * 9])
def test_sweeping_keeps_whatever_a_running_process_has(leave, tmp_path, hours):
    """A training may take a week; its folder's own date is that of its start."""
    folder = leave(os.getpid(), hours)
    sweep_scratch(tmp_path / "scratch")
    assert files(folder) == {"model.bin", "log.txt", "part-1.parquet"}


def test_sweeping_keeps_the_logs_of_the_last_day_and_nothing_else_of_the_dead(leave, tmp_path):
    process = dead()
    fresh, old = leave(process, 23), leave(process, 25)
    sweep_scratch(tmp_path / "scratch")
    assert files(fresh) == {"log.txt"} and not old.exists()


def test_sweeping_touches_nothing_that_no_run_left_and_minds_no_missing_folder(tmp_path):
    sweep_scratch(tmp_path / "scratch")
    (tmp_path / "scratch" / "notes").mkdir(parents=True)
    (tmp_path / "scratch" / "notes" / "mine.txt").write_text("keep")
    sweep_scratch(tmp_path / "scratch")
    assert files(tmp_path / "scratch") == {"mine.txt"}
