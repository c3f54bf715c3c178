"""Coding suites in their authors' layouts, on made samples: right programs pass, wrong ones fail, and shares are counted."""

import base64
import json
import pickle
import zlib

import pandas as pd
import pytest

from flows.config.suites import LiveCode, LiveCoding, Plus
from infra.errors import BadInput
from tasks.checks.sandbox.outside import find_sandbox
from tasks.checks.stage import CheckingHow, check_responses
from tasks.evaluation.benchmarks.coding import measure_coding_tasks, open_coding_suite
from tasks.evaluation.benchmarks.item_results import ItemResults
from tasks.evaluation.checked import CheckedResults, measure_checked
from tasks.records import RESPONSE, content_id
from tasks.rows.pool import write_table
from tasks.stage import What, stage

FENCE = "```"


def fence(code: str) -> str:
    return f"Think first.\n{FENCE}python\n{code}\n{FENCE}\nThat is the program."


def list_cases(*pairs: tuple[str, str], kind: str = "stdin") -> list[dict]:
    return [{"input": given, "output": wanted, "testtype": kind} for given, wanted in pairs]


def pack(cases: list[dict]) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def write_lines(file, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


PROBLEMS = {  # name: day, starter code, function, cases, a right program, a wrong one
    "Sum": (
        "2024-01-06", "", None, list_cases(("3\n1 2 3\n", "6\n"), ("1\n-5\n", "-5\n")),
        "n = int(input())\nprint(sum(map(int, input().split())))", "input()\nprint(max(map(int, input().split())))",
    ),
    "Half": (
        "2024-02-10", "", None, list_cases(("1\n", "0.5\n"), ("3", "1.50")),
        "if __name__ == '__main__':\n    print(f'{float(input()) / 2:.2f}')",
        "print(int(input()) // 2)",
    ),
    "Imports": (  # the authors import before the program what it forgets to import
        "2024-02-11", "", None, list_cases(("3 1 2", "1 2 3")),
        "heap = list(map(int, stdin.readline().split()))\nheapify(heap)\nprint(*[heappop(heap) for _ in range(len(heap))])",
        "print(*Counter(input().split()))",
    ),
    "Largest": (
        "2024-03-02", "class Solution:\n    def search(self, nums: List[int], by: int) -> int:\n        ", "search",
        list_cases(("[1, 5, 3]\n2", "10"), ("[-1]\n3", "-3"), kind="functional"),
        "class Solution:\n    def search(self, nums: List[int], by: int) -> int:\n        return max(nums) * by",
        "class Solution:\n    def search(self, nums: List[int], by: int) -> int:\n        return max(nums) * 2",
    ),
    "Pair": (  # a tuple in the place of a list is right, but not inside
        "2024-03-09", "class Solution:\n    def pair(self, x: int) -> List[int]:\n        ", "pair",
        list_cases(("1", "[1, 2]"), ("5", "[5, 6]"), kind="functional"),
        "def helper(x):\n    return x + 1\n\nclass Solution:\n    def pair(self, x):\n        return x, helper(x)",
        "class Solution:\n    def pair(self, x: int) -> List[int]:\n        return [(x, x + 1)]",
    ),
    "Old": ("2023-05-01", "", None, list_cases(("1", "1")), "print(1)", "print(2)"),
}  # fmt: skip


def live_code_bench(folder):
    rows = [
        {"question_title": name, "question_content": f"Problem {name}.", "platform": "leetcode" if function else "atcoder",
         "question_id": name, "contest_id": "c", "contest_date": f"{day}T00:00:00", "starter_code": starter,
         "difficulty": "easy", "public_test_cases": json.dumps(cases[:1]),
         "private_test_cases": pack(cases[1:]) if len(name) % 2 else json.dumps(cases[1:]),
         "metadata": json.dumps({"func_name": function} if function else {})}
        for name, (day, starter, function, cases, *_) in PROBLEMS.items()
    ]  # fmt: skip
    write_lines(folder / "test.jsonl", rows[:2])
    write_lines(folder / "test2.jsonl", rows[2:])
    return folder


@pytest.fixture
def sandboxed():
    try:
        find_sandbox().__exit__()
    except BadInput as problem:
        pytest.skip(str(problem))


class Answers(What):
    answers: dict[str, tuple[str, ...]]  # by a text in the prompt


@stage("stand-in coder", version="1")
def answer(run, what, how, prompts):
    asked = pd.read_parquet(run.file(prompts[0], "prompts.parquet"))
    rows = [
        {"prompt_id": row.prompt_id, "text": text, "sample_index": place, "content_id": content_id(row.prompt_id, text)}
        for row in asked.itertuples()
        for key, texts in what.answers.items()
        if key in row.messages[-1]["content"]
        for place, text in enumerate(texts)
    ]
    write_table(run, pd.DataFrame(rows).reindex(columns=RESPONSE.names), RESPONSE, "responses.parquet")


@stage("stand-in model", version="1")
def model(run, what, how):
    (run.folder / "nothing").write_text("")


def check(workplace, suite, answers: dict[str, tuple[str, ...]]):
    opened = open_coding_suite(**suite.resolve("suites.it"))
    answered = answer(prompts=opened, what=Answers(answers=answers))
    inputs = {"prompts": opened, "responses": answered}
    checked = check_responses(**inputs, model=model(what=What()), what=suite.checks, how=CheckingHow())
    return opened, answered, checked


def read_reasons(workplace, checked) -> dict:
    return workplace.table(checked, "scores.parquet")[["verdict", "reason"]].value_counts().to_dict()


def test_live_code_bench_passes_right_programs_only(workplace, tmp_path, sandboxed):
    suite = LiveCode(suite="livecodebench", path=str(live_code_bench(tmp_path)), first="2024-01-01", last="2024-12-31")
    sets = [{f"Problem {name}.": (fence(one[place]),) for name, one in PROBLEMS.items()} for place in (4, 5)]
    made = [check(workplace, suite, answers) for answers in sets]
    asked = workplace.table(made[0][0], "prompts.parquet")
    assert len(asked) == len(PROBLEMS) - 1  # one is older than the window
    texts = [row[-1]["content"] for row in asked["messages"]]
    assert sum("class Solution" in text for text in texts) == 2 and sum("standard input" in text for text in texts) == 3
    assert {verdict for verdict, _ in read_reasons(workplace, made[0][2])} == {"passed"}, read_reasons(
        workplace, made[0][2]
    )
    assert {verdict for verdict, _ in read_reasons(workplace, made[1][2])} == {"failed"}, read_reasons(
        workplace, made[1][2]
    )
    what = CheckedResults(suite="l", models=("right", "wrong"), seed=1)
    step = measure_checked(
        prompts=made[0][0], responses=[one for _, one, _ in made], checks=[one for *_, one in made], what=what
    )
    found = json.loads(workplace.run(step).file(workplace.made(step), "results.json").read_text())
    assert [one["value"] for one in found["results"]] == [100, 0]


def test_live_bench_coding_continues_the_given_beginning(workplace, tmp_path, sandboxed):
    beginning = (
        "class Solution:\n    def add(self, nums: List[int]) -> int:\n        total = 0\n        for one in nums:\n"
    )
    shared = {
        "category": "coding", "livebench_release_date": "2024-06-24", "livebench_removal_date": "",
        "original_json": {"metadata": '{"func_name": "add"}'}, "private_test_cases": "[]",
        "public_test_cases": json.dumps(list_cases(("[1, 2]", "3"), ("[]", "0"), kind="functional")),
    }  # fmt: skip
    rows = [
        {**shared, "task": "coding_completion", "question_id": name, "turns": [f"Complete {name}."],
         "partial_solution": beginning}
        for name in ("ends", "repeats", "errs")
    ]  # fmt: skip
    write_lines(tmp_path / "coding/coding_completion/question.jsonl", rows)
    whole = {**shared, "task": "LCB_generation", "question_id": "whole", "turns": ["Write whole."]}
    later = {**whole, "turns": ["Write later."], "livebench_release_date": "2025-04-02"}
    write_lines(tmp_path / "coding/LCB_generation/question.jsonl", [whole, later])
    suite = LiveCoding(suite="livebench-coding", path=str(tmp_path))
    rest = "            total += one\n        return total"
    right = beginning + rest
    texts = {"ends": rest, "repeats": right, "errs": rest.replace("+=", "-="), "whole": right}
    opened, answered, checked = check(workplace, suite, {name: (fence(text),) for name, text in texts.items()})
    assert read_reasons(workplace, checked) == {("passed", ""): 3, ("failed", "assertion 1 does not hold"): 1}
    what = ItemResults(suite="l", models=("one",), seed=1)
    step = measure_coding_tasks(prompts=opened, responses=[answered], checks=[checked], what=what)
    found = json.loads(workplace.run(step).file(workplace.made(step), "results.json").read_text())
    values = {one["metric"]: one["value"] for one in found["results"]}
    assert values["coding"] == pytest.approx((100 + 200 / 3) / 2) and "agentic_coding" in found["left_out"]


TASKS = {  # in the layout of EvalPlus's releases: task, right answers, wrong answers
    "HumanEval/2": (
        {"prompt": 'import math\n\n\ndef part(number: float) -> float:\n    """Its decimals."""\n', "entry_point": "part",
         "canonical_solution": "    return number % 1.0\n", "base_input": [[3.5], [1.25]], "plus_input": [[1e10 + 0.25]],
         "atol": 1e-6},
        ["def part(number):\n    return number - int(number)", "def part(number):\n    return math.modf(number)[0]"],
        ["def part(number):\n    return round(number % 1, 1)", "def part(number):\n    return number"],
    ),
    "Mbpp/2": (
        {"prompt": '"""\nWrite a function to find the shared elements.\n"""\n', "entry_point": "similar_elements",
         "canonical_solution": "def similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
         "base_input": [[[3, 4, 5], [5, 7, 4]]], "plus_input": [[[], []], [[1, 2], [2, 1]]], "atol": 0},
        ["def similar_elements(a, b):\n    assert isinstance(a, tuple)\n    return [one for one in a if one in b]"],
        ["def similar_elements(a, b):\n    return (4, 5)"],
    ),
    "Mbpp/3": (
        {"prompt": '"""\nWrite a function that counts.\n"""\n', "entry_point": "count",
         "canonical_solution": "def count(text):\n    return {one: text.count(one) for one in text}\n",
         "base_input": [["aba"]], "plus_input": [[""], ["xyz" * 50]], "atol": 0},
        ["from collections import Counter\ndef count(text):\n    return Counter(text)"],
        ["def count(text):\n    return {}", "def count(text):\n    return {'a': 2, 'b': 1}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("tests", ["plus", "base"])
def test_eval_plus_compares_with_the_solution_of_the_file(workplace, tmp_path, sandboxed, tests):
    write_lines(tmp_path / "Made.jsonl", [{"task_id": name, **task} for name, (task, *_) in TASKS.items()])
    suite = Plus(suite="evalplus", path=str(tmp_path / "Made.jsonl"), tests=tests)
    answers = {
        task["prompt"].split('"""')[1].strip(): tuple(map(fence, [*right, *wrong]))
        for task, right, wrong in TASKS.values()
    }
    _, answered, checked = check(workplace, suite, answers)
    found = workplace.table(checked, "scores.parquet").set_index("content_id")["verdict"]
    told = workplace.table(answered, "responses.parquet").set_index("text")["content_id"].map(found)
    passed = {fence(code) for _, right, _ in TASKS.values() for code in right}
    if tests == "base":  # what the additional inputs find
        passed |= {fence(TASKS["Mbpp/2"][2][0]), fence(TASKS["Mbpp/3"][2][1])}
    assert {text for text, verdict in told.items() if verdict == "passed"} == passed
    assert set(told) == {"passed", "failed"} and len(told) == 9


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        (LiveCode(suite="livecodebench", path="nowhere"), r"suites\.it\.path: livecodebench needs test\*\.jsonl"),
        (LiveCoding(suite="livebench-coding", path="nowhere"), "livebench-coding needs coding/LCB_generation"),
        (Plus(suite="evalplus", path="nowhere"), "evalplus needs a file of an EvalPlus release"),
    ],
)
def test_a_missing_file_is_named(suite, message):
    with pytest.raises(BadInput, match=message):
        suite.resolve("suites.it")


def test_a_window_without_problems_is_refused(workplace, tmp_path):
    suite = LiveCode(suite="livecodebench", path=str(live_code_bench(tmp_path)), first="2030-01-01")
    with pytest.raises(BadInput, match=r"livecodebench: .* has no question for these settings"):
        workplace.made(open_coding_suite(**suite.resolve("suites.it")))
