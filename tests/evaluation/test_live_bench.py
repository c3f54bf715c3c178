"""LiveBench: its files, a release's questions, its authors' scorer asked in another environment, and means of means."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from infra.errors import BadInput
from infra.settings import settings
from tasks.evaluation.benchmarks.item_metrics import compare_categories, measure_categories
from tasks.evaluation.benchmarks.item_results import ItemResults
from tasks.evaluation.benchmarks.live_bench import (
    CATEGORIES,
    LiveBench,
    is_in_release,
    measure_live_bench,
    open_live_bench,
    score_live_bench,
)
from tasks.records import RESPONSE
from tasks.rows.pool import write_table
from tasks.stage import What, stage

SCORER = {  # in the place of the authors' package: the same names, and a score that a test can foresee
    "common.py": """
import dataclasses

@dataclasses.dataclass
class MatchSingle:
    question: dict
    model: str
    answer: dict
    ref_answer: dict = None
    multi_turn: bool = False
""",
    "gen_ground_truth_judgment.py": """
def play_a_match_gt(match, output_file, debug=False):
    assert output_file is None
    said = match.answer["choices"][0]["turns"][-1]
    return {"question_id": match.question["question_id"], "score": float(match.question["ground_truth"] == said)}
""",
}


def questions(folder, categories=CATEGORIES):
    for category in categories:
        for task, count in (("one", 2), ("two", 5)):
            at = folder / category / task
            at.mkdir(parents=True)
            rows = [
                {"question_id": f"{category}-{task}-{n}", "category": category, "task": task,
                 "turns": [f"{category} {task} {n}?"], "ground_truth": f"{n % 3}", "livebench_release_date": "2024-06-24",
                 "livebench_removal_date": "2024-08-31" if n == 4 else ""}
                for n in range(count)
            ]  # fmt: skip
            (at / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@stage("saying one thing", version="1")
def say(run, what, how, prompts):
    asked = pd.read_parquet(run.file(prompts[0], "prompts.parquet"))["prompt_id"]
    rows = pd.DataFrame({"prompt_id": asked[: what.until], "text": what.words, "sample_index": 0})
    write_table(run, rows.reindex(columns=RESPONSE.names), RESPONSE, "responses.parquet")


class Words(What):
    words: str
    until: int = 1000


@pytest.fixture
def scorer(tmp_path, monkeypatch):
    package = tmp_path / "elsewhere" / "livebench"
    package.mkdir(parents=True)
    for name, text in SCORER.items():
        (package / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("FUSE_LIVEBENCH_PYTHON", sys.executable)
    settings.cache_clear()


def scored(folder, words: str, until: int = 1000):
    opened = open_live_bench(**LiveBench(suite="livebench", path=str(folder)).resolve("suite"))
    said = say(prompts=opened, what=Words(words=words, until=until))
    return score_live_bench(questions=opened, responses=said, what=What())


def test_answers_are_scored_elsewhere_and_averaged_by_category(workplace, tmp_path, scorer):
    folder = questions(tmp_path / "live_bench")
    both = [scored(folder, words) for words in ("9", "0")]
    assert len(workplace.table(both[0], "items.parquet")) == 4 * (2 + 4)  # the removed ones are not asked
    step = measure_live_bench(items=both, what=ItemResults(suite="l", models=("nine", "nought"), seed=1))
    found = json.loads((workplace.run(step).file(workplace.made(step), "results.json")).read_text())
    value = {(one["model"], one["metric"]): one["value"] for one in found["results"]}
    assert value["nine", "accuracy"] == 0 and value["nought", "math"] == 50  # 1 of 2, and 2 of 4
    assert {one["metric"] for one in found["differences"]} == {*CATEGORIES, "accuracy"} and "coding" in found[
        "left_out"
    ]
    assert [one["column"] for one in found["results"][:5]] == [*sorted(CATEGORIES), "average"]
    with pytest.raises(BadInput, match="4 of 24 questions have no answer"):
        workplace.made(scored(folder, "9", until=20))


def test_without_its_environment_or_a_category_it_says_what_to_put_where(workplace, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=r"needs data_analysis/<task>/question\.jsonl in .*download_questions\.py"):
        LiveBench(suite="livebench", path=str(questions(tmp_path / "less", CATEGORIES[:3]))).resolve("suite")
    monkeypatch.delenv("FUSE_LIVEBENCH_PYTHON", raising=False)
    settings.cache_clear()
    with pytest.raises(BadInput, match="FUSE_LIVEBENCH_PYTHON: LiveBench needs a separate environment"):
        workplace.made(scored(questions(tmp_path / "live_bench"), "9"))


def test_a_question_belongs_to_releases_between_two_dates():
    row = {"livebench_release_date": "2024-06-24", "livebench_removal_date": "2024-08-31"}
    assert [is_in_release(row, day) for day in ("2024-06-01", "2024-06-24", "2024-07-26", "2024-08-31")] == [0, 1, 1, 0]


def test_categories_are_averaged_as_plain_loops_average_them():
    draw, rows = np.random.default_rng(2), []
    for category, tasks in (("a", (3, 40)), ("b", (7,))):
        for task, count in enumerate(tasks):
            rows += [(category, f"{category}{task}", f"{n}", draw.random()) for n in range(count)]
    table = pd.DataFrame(rows, columns=["category", "task", "item", "value"])
    values = table.set_index(["category", "task", "item"])["value"]
    mean = lambda task: np.mean([value for _, name, _, value in rows if name == task])
    expected = {"a": 50 * (mean("a0") + mean("a1")), "b": 100 * mean("b0")}
    expected["accuracy"] = (expected["a"] + expected["b"]) / 2
    found = {one["metric"]: one for one in measure_categories(values, 0.95, 1)}
    assert {name: one["value"] for name, one in found.items()} == pytest.approx(expected)
    assert all(one["low"] < one["value"] < one["high"] for one in found.values())
    better = {one["metric"]: one for one in compare_categories(values, values + 0.1, 0.95, 1)}
    assert better["accuracy"]["value"] == pytest.approx(10) and better["accuracy"]["p"] < 0.01
    assert all(one["p"] == 1 for one in compare_categories(values, values, 0.95, 1))
