"""The recipe's accuracy on held-out prompts: what its checks say, the same as a checked suite's; or a reason, never 0."""

import json

import pandas as pd
import pytest

from infra.errors import BadInput
from tasks.evaluation.checked import CheckedResults, measure_checked
from tasks.evaluation.stage import Evaluation, evaluate
from tasks.records import PROMPT, RESPONSE, SPLIT
from tasks.rows.pool import write_table
from tasks.stage import What, stage

IDS = [f"p{number:02d}" for number in range(20)]
MODELS = ("target", "WRPO", "north")
SENTENCE = "7 * 6 = 42. The answer is 42."


class Golds(What):
    without: tuple[str, ...] = ()


class Said(What):
    name: str


class Found(What):
    name: str
    right: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


@stage("golds", version="1")
def prompts(run, what, how):
    asked = [[{"role": "user", "content": f"What of {name}?"}] for name in IDS]
    golds = [None if name in what.without else "42" for name in IDS]
    rows = pd.DataFrame({"prompt_id": IDS, "messages": asked, "category": "", "gold": golds})
    write_table(run, rows.reindex(columns=PROMPT.names), PROMPT, "prompts.parquet")


@stage("parts", version="1")
def splits(run, what, how):
    write_table(run, pd.DataFrame({"prompt_id": IDS, "part": "held_out"}), SPLIT, "splits.parquet")


@stage("said to held-out prompts", version="1")
def say(run, what, how):
    names = [f"{what.name} {prompt}" for prompt in IDS]
    rows = pd.DataFrame({"prompt_id": IDS, "sample_index": 0, "text": SENTENCE, "content_id": names, "tokens": 9})
    write_table(run, rows.reindex(columns=RESPONSE.names), RESPONSE, "responses.parquet")


@stage("judged", version="1")
def judge(run, what, how):
    rows = pd.DataFrame({"content_id": [f"{name} {prompt}" for name in MODELS for prompt in IDS]})
    rows.assign(score=0.5).to_parquet(run.folder / "scores.parquet")


@stage("found", version="1")
def check(run, what, how):
    scores = [None if name in what.unchecked else float(name in what.right) for name in IDS]
    verdicts = ["timeout" if name in what.unchecked else "passed" for name in IDS]
    rows = pd.DataFrame({"content_id": [f"{what.name} {name}" for name in IDS], "score": scores, "verdict": verdicts})
    late = "the comparison was not done in time"
    rows.assign(reason=[late if one == "timeout" else None for one in verdicts]).to_parquet(
        run.folder / "scores.parquet"
    )


def read(workplace, step) -> dict:
    return json.loads(workplace.run(step).file(workplace.made(step), "results.json").read_text())


def evaluation(checks, without=()):
    what = Evaluation(models=MODELS[:2], opponents=MODELS[2:], seed=1)
    answers = [say(what=Said(name=name)) for name in MODELS]
    golds = {"prompts": prompts(what=Golds(without=without)), "splits": splits(what=What())}
    return evaluate(**golds, answers=answers, scores=judge(what=What()), checks=checks, what=what)


FOUND = [
    Found(name="target", right=tuple(IDS[:4])),
    Found(name="WRPO", right=tuple(IDS[:9]), unchecked=tuple(IDS[9:12])),
    Found(name="north"),
]


def test_accuracy_is_what_the_checks_say_and_what_a_checked_suite_says(workplace):
    checks = [check(what=one) for one in FOUND]
    step = evaluation(checks, without=(IDS[0], IDS[19]))
    found = read(workplace, step)
    accuracy = {one["model"]: one["accuracy"]["value"] for one in found["results"]}
    assert accuracy == {"target": 3 / 18, "WRPO": 8 / 18, "north": 0}
    assert {one["model"]: one["unchecked"] for one in found["results"]} == {"target": 0, "WRPO": 3, "north": 0}
    assert found["no_accuracy"] is None
    suite = measure_checked(
        prompts=step.inputs["prompts"],
        responses=step.inputs["answers"],
        checks=checks,
        what=CheckedResults(suite="x", models=MODELS, seed=1),
    )
    same = read(workplace, suite)["results"]
    assert {one["model"]: one["value"] for one in same} == pytest.approx(
        {name: 100 * accuracy[name] for name in MODELS}
    )
    rows = workplace.table(step, "answers.parquet").set_index(["model", "prompt_id"])["correct"]
    assert rows["WRPO", IDS[1]] is True and rows["WRPO", IDS[9]] is False and rows["WRPO", IDS[0]] is None


@pytest.mark.parametrize(
    ("checks", "without", "reason"),
    [
        ((), (), "the recipe has no [checks]"),
        (FOUND, tuple(IDS), "no prompt has a gold (a correct answer, or tests)"),
        (
            [Found(name=name, unchecked=tuple(IDS)) for name in MODELS],
            (),
            "none of 60 answers could be checked: the comparison was not done in time",
        ),
    ],
)
def test_where_nothing_was_checked_there_is_a_reason_and_no_number(workplace, checks, without, reason):
    found = read(workplace, evaluation([check(what=one) for one in checks], without))
    assert found["no_accuracy"] == reason
    assert [one["accuracy"] for one in found["results"]] == [None] * 3
    assert {one["metric"] for one in found["differences"]} == {"win_rate"}


def test_a_checked_suite_without_any_check_has_no_result_either(workplace):
    step = measure_checked(
        prompts=prompts(what=Golds()),
        responses=[say(what=Said(name="target"))],
        checks=[check(what=Found(name="target", unchecked=tuple(IDS)))],
        what=CheckedResults(suite="sums", models=("target",), seed=1),
    )
    with pytest.raises(BadInput, match="sums: the accuracy cannot be computed: none of 20 answers could be checked"):
        workplace.made(step)


def test_an_answer_without_a_check_is_an_error(workplace):
    with pytest.raises(BadInput, match="20 answers of 'target' have no check"):
        workplace.made(evaluation([check(what=Found(name="somebody")) for _ in MODELS]))
