"""Answers against a table made by hand, through the program that checks responses; no answer holds up the others."""

import json
import os
import subprocess
import sys

import pytest

from infra.settings import ROOT
from tasks.checks.worker import Worker
from tests.checks.answers import HANGING, LONG, RIGHT, WRONG
from tests.patience import STILL


def test_the_table_has_no_row_twice():
    assert len({*RIGHT, *WRONG}) == len(RIGHT) + len(WRONG)


def test_right_answers_pass(check_answers):
    verdicts = check_answers(RIGHT)
    assert [pair for pair, verdict in zip(RIGHT, verdicts, strict=True) if verdict != "passed"] == []


def test_wrong_answers_fail(check_answers):
    verdicts = check_answers(WRONG)
    assert [pair for pair, verdict in zip(WRONG, verdicts, strict=True) if verdict != "failed"] == []


def test_long_texts_are_wrong_and_take_no_worker_down(check_answers):
    pairs = [(gold, text) for text in LONG.values() for gold in ("8", "x^2+y")]
    assert set(check_answers(pairs)) == {"failed"}


def test_an_answer_without_end_ends_its_worker_and_not_the_run(tmp_path):
    worker, ended = Worker("tasks.checks.answers", 1, tmp_path), []
    try:
        for answer in HANGING:
            try:
                assert worker.ask({"text": rf"\boxed{{{answer}}}", "gold": "7"}) == {"correct": False}
            except (TimeoutError, ChildProcessError):
                ended.append(answer)
                assert worker.process is None
        assert HANGING[0] in ended
        worker.seconds = STILL
        assert worker.ask({"text": r"\boxed{7}", "gold": "7"}) == {"correct": True}
    finally:
        worker.end()


def test_a_worker_that_dies_is_told_from_one_that_hangs(tmp_path):
    worker = Worker("tasks.checks.answers", STILL, tmp_path)
    try:
        worker.ask({"text": "7", "gold": "7"})
        with pytest.raises(ChildProcessError):
            worker.ask({"no": "text"})
        assert worker.ask({"text": "7", "gold": "7"}) == {"correct": True}
    finally:
        worker.end()


def test_a_worker_ends_with_its_input():
    command = [sys.executable, "-m", "tasks.checks.answers"]
    answer = subprocess.run(command, input=b'{"text": "7", "gold": "8"}\n', capture_output=True, timeout=STILL)
    assert answer.returncode == 0 and [json.loads(line) for line in answer.stdout.splitlines()] == [
        "ready",
        {"correct": False},
    ]


def test_a_worker_has_no_secret_and_no_folder_of_its_starter(tmp_path, monkeypatch):
    for name in ("DATABASE_URL", "PREFECT_API_AUTH_STRING", "OPENAI_API_KEY", "CONNECTION"):
        monkeypatch.setenv(name, "very-secret")
    worker = Worker("tests.checks.place", 20, tmp_path)
    try:
        found = worker.ask({})
    finally:
        worker.end()
    assert "very-secret" not in found["environment"].values() and "PATH" in found["environment"]
    assert found["folder"] == str(tmp_path)
    assert not {"", ".", os.getcwd(), str(ROOT)} & set(found["path"])
