"""A step is made once, by whoever comes first; a failure leaves nothing that counts."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.errors import BadInput, ProgramFailed
from infra.lease import hold_lease
from tasks.execution import ensure_artifact
from tasks.stage import How, What, stage
from tests.patience import STILL


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
    made = ensure_artifact(step, workplace.store, workplace.launcher, observe)
    found = ensure_artifact(spelling(workplace), workplace.store, workplace.launcher, observe)
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


def test_who_waits_for_another_leaves_with_the_run(workplace):
    """Who interrupts a run does not wait for one that somebody else has begun."""
    step, told = spelling(workplace), threading.Event()
    with ThreadPoolExecutor() as threads, hold_lease(workplace.store.blobs, step.address):
        observe = lambda *seen: told.set()
        waiting = threads.submit(ensure_artifact, step, workplace.store, workplace.launcher, observe)
        assert told.wait(STILL)
        workplace.launcher.leave()
        with pytest.raises(ProgramFailed, match="shutting down"):
            waiting.result(STILL)
    assert workplace.store.manifests("spelling") == []


def test_two_who_want_the_same_step_at_once_make_it_once(workplace):
    step, seen, found = spelling(workplace, seconds=0.5), [], []
    observe = lambda step, doing, *numbers: seen.append(doing)
    want = lambda: found.append(ensure_artifact(step, workplace.store, workplace.launcher, observe))
    threads = [threading.Thread(target=want) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] and diary(workplace) == ["cat"]
    assert any(doing.startswith(f"waiting: process {os.getpid()} ") for doing in seen)
