"""The coding half of FuseChat-3.0 on made sets of the real sets' forms: tests are mined, checked with, and leave records."""

import json

import pandas as pd
import pytest

from flows.config.loading import load_recipe
from flows.config.usable import refuse_unusable_prompts
from infra.errors import BadInput
from tasks.checks.sandbox import outside
from tasks.checks.stage import Checking, CheckingHow, check_responses
from tasks.pairs.rules import BestCorrect, Code
from tasks.pairs.stage import Pairs, SftRecords, build_pairs, build_sft_records
from tasks.prompts.mining import mine_asserts, mine_examples
from tasks.prompts.sets import PromptSets
from tasks.prompts.stage import select_prompts
from tasks.records import RESPONSE, SCORE, SPLIT, content_id
from tasks.rows.pool import write_table
from tasks.stage import What, stage
from tests.addresses import fill_slots

FENCE = "```"
ADD = r"""Given two integers, return their sum.

**Example 1:**

**Input:** num1 = 12, num2 = 5
**Output:** 17
**Explanation:** num1 is 12, num2 is 5, and their sum is 12 + 5 = 17.

**Example 2:**

**Input:** num1 = -10, num2 = 4
**Output:** -6

**Constraints:**

*   `-100 <= num1, num2 <= 100`"""
ROWS = r"""Given a matrix, return the sum of every row, and whether it is positive.

<strong>Example 1:</strong>
<pre>
<strong>Input:</strong> matrix = \[\[1,2\],\[-3,1\]\], name = "a=b, c"
<strong>Output:</strong> \[\[3,true\],\[-2,false\]\]
</pre>"""
ROWS_PYTHON = (
    "class Solution:\n    def rowSums(self, matrix, name):\n        return [[sum(row), sum(row) > 0] for row in matrix]"
)
fenced = lambda code: f"{FENCE}python\n{code}\n{FENCE}\n"
LEETCODE = [  # content, python; and why no tests can be made
    (ADD, fenced("def sum(num1, num2):\n    return num1 + num2") + "\nThe sum is trivial.", ""),
    (ROWS, fenced(ROWS_PYTHON), ""),
    (
        ADD.replace("sum.", "sum in any order."),
        fenced("def sum(num1, num2):\n    return num1 + num2"),
        "several answers",
    ),
    (ADD.replace("Given", "Take"), fenced("def twoSum(nums, target):\n    return []"), "takes num1, num2"),
    (ADD.replace("Given", "Use"), fenced("def f(head: ListNode):\n    return head"), "nodes of a list"),
    (
        ADD.replace("**Output:** 17", "**Output:** 1 7 apples"),
        fenced("def f(num1, num2): return 1"),
        "not a plain value",
    ),
    ("Print the first line of a file.", fenced("def f(): pass"), "no example with an Input and an Output"),
    (ADD.replace("Given", "Have"), fenced("def f(num1, num2) return"), "not Python"),
    (
        ADD.replace("17", "18").replace("Given", "Get"),
        fenced("def plus(num1, num2):\n    return num1 + num2"),
        "",
    ),  # wrong
]
SELF_OSS = [  # instruction, response
    (
        "Write a function `double` that doubles a number. Your code should pass the following assertion:\n"
        + fenced("assert double(2) == 4"),
        fenced("def double(x):\n    return 2 * x\n\nassert double(0) == 0"),
        "",
    ),
    ("Write a function that says hello.", fenced("def hello():\n    print('hello')"), "no assert"),
    (
        "Write a function that draws.",
        fenced("import random\ndef draw():\n    return random.random()\nassert draw() < random.random() + 1"),
        "no assert",
    ),
]


def write_sets(folder) -> PromptSets:
    rows = {
        "leetcode": [
            {"content": content, "python": python, "id": n} for n, (content, python, _) in enumerate(LEETCODE)
        ],
        "self-oss": [{"instruction": asked, "response": said} for asked, said, _ in SELF_OSS],
    }
    columns = {
        "leetcode": {"prompt": "content", "tests": "examples", "solution": "python"},
        "self-oss": {"prompt": "instruction", "response": "response", "tests": "asserts"},
    }
    sets = []
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
        source = {"kind": "file", "path": str(folder / f"{name}.jsonl"), "columns": columns[name]}
        sets.append({"name": name, "category": "coding", "filters": [{"kind": "has-tests"}], "source": source})
    return PromptSets(kind="sets", sets=sets)


@pytest.mark.parametrize(("content", "python", "problem"), LEETCODE)
def test_examples_of_a_problem_become_tests_or_a_reason(content, python, problem):
    if problem:
        with pytest.raises(ValueError, match=problem):
            mine_examples(content, python)
    else:
        assert json.loads(mine_examples(content, python))["tests"]


def test_mined_values_are_those_of_the_text():
    gold = json.loads(mine_examples(ROWS, fenced(ROWS_PYTHON)))
    assert gold["tests"] == ["assert rowSums([[1, 2], [-3, 1]], 'a=b, c') == [[3, True], [-2, False]]"]
    assert gold["entry_point"] == "rowSums"


@pytest.mark.parametrize(("asked", "said", "problem"), SELF_OSS)
def test_asserts_beside_an_answer_become_tests_or_a_reason(asked, said, problem):
    if problem:
        with pytest.raises(ValueError, match=problem):
            mine_asserts(asked, said)
    else:
        gold = json.loads(mine_asserts(asked, said))
        assert gold["tests"] == ["assert double(2) == 4", "assert double(0) == 0"] and gold["entry_point"] == "double"
        assert "assert" not in gold["solution"]


ANSWERS = {  # a word of the prompt: the responses of the one source
    "two integers": [
        fenced("def add_numbers(num1, num2):\n    return num1 + num2"),
        fenced("def add(a, b):\n    return a * b"),
    ],
    "matrix": [
        fenced(
            "class Solution:\n    def row_sums(self, matrix, name):\n        return [[sum(row), sum(row) > 0] for row in matrix]"
        ),
        "I cannot.",
    ],
    "double": [fenced("def double(x):\n    return x + x"), fenced("def double(x):\n    return x + 2")],
}


@stage("stand-in coder", version="1")
def coder(run, what, how):
    (run.folder / "nothing").write_text("")


@stage("stand-in answers", version="1")
def answers(run, what, how, prompts):
    asked = pd.read_parquet(run.file(prompts[0], "prompts.parquet"))
    rows = [
        {"prompt_id": row.prompt_id, "sample_index": n, "text": text, "content_id": content_id(row.prompt_id, text)}
        for row in asked.itertuples()
        for word, texts in ANSWERS.items()
        if word in row.messages[-1]["content"]
        for n, text in enumerate(texts)
    ]
    rest = {"prompt_tokens": 1, "tokens": 1, "finish_reason": "stop", "seed": 0, "engine": "none"}
    write_table(run, pd.DataFrame(rows).assign(**rest), RESPONSE, "responses.parquet")
    scores = pd.DataFrame(rows)[["content_id"]].assign(
        score=0.5, tokens=1, truncated=False, reason=None, objectives=None, gate=None
    )
    write_table(run, scores, SCORE, "scores.parquet")


@stage("stand-in parts", version="1")
def parts(run, what, how, prompts):
    asked = pd.read_parquet(run.file(prompts[0], "prompts.parquet"))
    write_table(
        run, asked[["prompt_id"]].assign(part="sft" if what.part == "sft" else "preference"), SPLIT, "splits.parquet"
    )


class Part(What):
    part: str


def test_the_made_sets_leave_records_and_pairs(workplace, tmp_path):
    try:
        outside.find_sandbox().__exit__()
    except BadInput as problem:
        pytest.skip(str(problem))
    prompts = select_prompts(**write_sets(tmp_path).resolve("prompts"))
    counts = workplace.made(prompts).counts
    assert (counts["rows"], counts["dropped_has_tests"]) == (4, 8)
    dropped = pd.read_parquet(workplace.store.fetch(workplace.made(prompts), ["dropped.parquet"]) / "dropped.parquet")
    assert (dropped["detail"] != "").all()

    said = answers(what=What(), prompts=prompts)
    given = {"prompts": prompts, "responses": said}
    checks = check_responses(**given, model=coder(what=What()), what=Checking(seconds=30), how=CheckingHow())
    verdicts = workplace.table(checks, "scores.parquet")
    assert verdicts["verdict"].value_counts().to_dict() == {"passed": 3, "failed": 2, "error": 1, "unchecked": 2}
    wrong = verdicts[verdicts["verdict"] == "unchecked"]["reason"]
    assert wrong.str.contains("own solution does not pass its tests").all()  # of which none may be judged

    evidence = {"responses": [said], "scores": [said], "checks": [checks]}
    records = build_sft_records(
        prompts=prompts, splits=parts(what=Part(part="sft"), prompts=prompts), **evidence,
        what=SftRecords(sources=("coder",), rule=BestCorrect(kind="best-correct")),
    )  # fmt: skip
    pairs = build_pairs(
        prompts=prompts, splits=parts(what=Part(part="preference"), prompts=prompts), **evidence,
        what=Pairs(sources=("coder",), rule=Code(kind="code")),
    )  # fmt: skip
    assert len(workplace.table(records, "records.parquet")) == 3
    assert len(workplace.table(pairs, "pairs.parquet")) == 3


def test_a_set_whose_prompts_no_rule_could_use_is_refused(tmp_path):
    name = "fusechat3-llama3.1-8b"
    recipe = load_recipe(name, fill_slots(name, tmp_path / "prompts.jsonl"))
    refuse_unusable_prompts(recipe)
    sets = write_sets(tmp_path)
    blind = sets.model_copy(update={"sets": (sets.sets[0].model_copy(update={"filters": ()}), sets.sets[1])})
    refuse_unusable_prompts(recipe.model_copy(update={"prompts": sets}))
    with pytest.raises(
        BadInput, match=r"^prompts\.sets\.leetcode: prompts of 'coding' are used only by 'best-correct' and"
    ):
        refuse_unusable_prompts(recipe.model_copy(update={"prompts": blind}))
