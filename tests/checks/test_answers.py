"""Answers against a table made by hand, through the program that checks responses; no answer holds up the others."""

import json
import subprocess
import sys
import time

import pytest
from checks.answers import HANGING, LONG, RIGHT, WRONG

from tasks.checks.worker import Worker


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


def test_an_answer_without_end_ends_its_worker_and_not_the_run():
    worker, ended = Worker("tasks.checks.answers", seconds=1), []
    try:
        for answer in HANGING:
            started = time.monotonic()
            try:
                assert worker.ask({"text": rf"\boxed{{{answer}}}", "gold": "7"}) == {"correct": False}
            except (TimeoutError, ChildProcessError):
                ended.append(answer)
                assert worker.process is None
            assert time.monotonic() - started < 60  # the next one has its libraries to load
        assert HANGING[0] in ended
        assert worker.ask({"text": r"\boxed{7}", "gold": "7"}) == {"correct": True}
    finally:
        worker.end()


def test_a_worker_that_dies_is_told_from_one_that_hangs():
    worker = Worker("tasks.checks.answers", seconds=20)
    try:
        worker.ask({"text": "7", "gold": "7"})
        with pytest.raises(ChildProcessError):
            worker.ask({"no": "text"})
        assert worker.ask({"text": "7", "gold": "7"}) == {"correct": True}
    finally:
        worker.end()


def test_a_worker_ends_with_its_input():
    answer = subprocess.run(
        [sys.executable, "-m", "tasks.checks.answers"],
        input=b'{"text": "7", "gold": "8"}\n',
        capture_output=True,
        timeout=120,
    )
    assert answer.returncode == 0 and [json.loads(line) for line in answer.stdout.splitlines()] == [
        "ready",
        {"correct": False},
    ]
