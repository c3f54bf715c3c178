"""What a response holds is read, parsed and resolved in its sandbox alone, and what comes of it is its own verdict."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checks.attacks import TESTS
from tests.checks.canary import Canary
from tests.checks.entry import check_texts, read_verdicts, write_job
from tests.checks.poisoned import EXTRACTION, HARMLESS, RIGHT, STATEMENTS, embed

ANSWERS = "```python\n" + RIGHT + "```"
GOLDS = {"asserts": TESTS, "an entry point": json.dumps({"tests": TESTS, "entry_point": "f"})}


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """Its folder is where the program works, and first among the places to import from."""
    canary = Canary(tmp_path / "place")
    monkeypatch.chdir(canary.folder)
    monkeypatch.syspath_prepend(canary.folder)
    return canary


def beside_right_ones(texts: list[str], gold: str) -> list[tuple[str, str]]:
    return [row for text in texts for row in ((ANSWERS, gold), (text, gold))]


@pytest.mark.parametrize("gold", GOLDS.values(), ids=GOLDS)
def test_a_poisoned_response_leaves_right_ones_right(means, canary, tmp_path, gold):
    rows = beside_right_ones([embed(statement)["in its fence"] for statement in STATEMENTS.values()], gold)
    found = check_texts(tmp_path / "job", rows, means, seconds=20, memory_megabytes=512)
    assert canary.find_harm() == ""
    assert [one["verdict"] for one in found[::2]] == ["passed"] * len(STATEMENTS)


def test_where_a_statement_is_no_code_of_the_program_it_changes_no_verdict(means, canary, tmp_path):
    asked = {(name, place): text for name, one in STATEMENTS.items() for place, text in embed(one).items()}
    rows = [(text, TESTS) for text in asked.values()]
    found = check_texts(tmp_path / "job", rows, means, seconds=20, memory_megabytes=512)
    assert canary.find_harm() == ""
    verdicts = {asked: one for asked, one in zip(asked, found, strict=True)}
    wrong = {
        asked: one["reason"] for asked, one in verdicts.items() if asked[1] in HARMLESS and one["verdict"] != "passed"
    }
    assert wrong == {}
    for name in ("a module that runs tests", "a package of the working folder", "a relative star import"):
        assert verdicts[name, "in a docstring"]["verdict"] == "passed", name
        expected = "unchecked" if "package of" in name else "error"  # a package might be offered
        assert verdicts[name, "its program"]["verdict"] == expected, name


def test_a_search_for_the_program_has_an_end(means, canary, tmp_path):
    rows = beside_right_ones(list(EXTRACTION.values()), TESTS)
    found = check_texts(tmp_path / "job", rows, means, seconds=5, memory_megabytes=512)
    assert canary.find_harm() == ""
    assert [one["verdict"] for one in found[::2]] == ["passed"] * len(EXTRACTION)
    assert {one["verdict"] for one in found[1::2]} <= {"passed", "failed", "error", "timeout"}


def test_the_same_texts_as_answers_are_compared_and_nothing_more(canary, tmp_path):
    """Where the gold is a number, the process that compares is the only one that reads the text."""
    texts = [text for one in STATEMENTS.values() for text in embed(one).values()]
    texts += [rf"The answer is \boxed{{{one}}}" for one in STATEMENTS.values()] + list(EXTRACTION.values())
    rows = [(text, "7") for text in texts[::6]] + [("The answer is 7.", "7")]
    found = check_texts(tmp_path / "job", rows, answer_seconds=3)
    assert canary.find_harm() == ""
    assert found[-1]["verdict"] == "passed"


def test_the_program_started_in_the_working_folder_reads_nothing_there(means, tmp_path):
    """As the stage starts it: a process whose working folder holds the package that a response names."""
    canary, root = Canary(tmp_path / "place"), str(Path(__file__).parents[2])
    rows = [
        (embed(STATEMENTS[name])["in its fence"], TESTS) for name in STATEMENTS if "package" in name or "module" in name
    ]
    job, out = tmp_path / "job.json", tmp_path / "out"
    job.write_text(json.dumps(write_job(tmp_path / "job", [*rows, (ANSWERS, TESTS)], means)))
    command = [sys.executable, "-m", "tasks.checks.check", str(job), str(out)]
    subprocess.run(command, cwd=canary.folder, env={**os.environ, "PYTHONPATH": root}, check=True)
    assert canary.find_harm() == ""
    assert [one["verdict"] for one in read_verdicts(out)][-1] == "passed"
