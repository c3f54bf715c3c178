"""Benchmarks through lm-eval: what must lie where, means of tasks, and one small task for real where lm-eval is."""

import json
import os
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from infra.errors import BadInput
from infra.settings import settings
from tasks.evaluation.benchmarks.item_metrics import compare_task_scores, measure_tasks
from tasks.evaluation.benchmarks.item_results import ItemResults
from tasks.evaluation.benchmarks.lm_eval import PRESETS, LmEvalBenchmark, LmEvalTask, compare_tasks, run_tasks
from tasks.models.stage import TinyGenerator, obtain_model
from tasks.stage import What, stage

LETTERS = """
task: letters
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""


def folder_of_letters(tmp_path):
    folder = tmp_path / "letters"
    folder.mkdir()
    rows = [{"question": f"copy {letter * 5}", "choices": [letter * 5, "zzzzz"], "answer": 0} for letter in "abcdef"]
    (folder / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "letters.yaml").write_text(LETTERS.format(data=folder / "letters.jsonl"))
    return folder


def test_a_missing_task_says_what_to_put_where(tmp_path):
    suite = LmEvalBenchmark(suite="lm-eval", path=str(folder_of_letters(tmp_path)), preset="open-llm-leaderboard-v1")
    with pytest.raises(
        BadInput, match=r"has no task 'arc_challenge': copy its YAML from lm-eval's lm_eval/tasks there"
    ):
        suite.resolve("suites.board")
    with pytest.raises(BadInput, match="tasks: is empty; name a task"):
        LmEvalBenchmark(suite="lm-eval", path=str(tmp_path)).resolve("suites.board")


def test_the_leaderboards_shots_and_metrics_are_its_own():
    found = {one.task: (one.shots, one.metric) for one in PRESETS["open-llm-leaderboard-v1"]}
    assert found == {
        "arc_challenge": (25, "acc_norm"),
        "hellaswag": (10, "acc_norm"),
        "truthfulqa_mc2": (0, "acc"),
        "mmlu": (5, "acc"),
        "winogrande": (5, "acc"),
        "gsm8k": (5, "exact_match"),
    }


def test_the_other_presets_name_lm_evals_own_tasks_and_filters():
    found = {name: [(one.task, one.shots, one.metric, one.filter) for one in tasks] for name, tasks in PRESETS.items()}
    assert found["mmlu-pro"] == [("mmlu_pro", 5, "exact_match", "custom-extract")]
    assert found["mmlu-redux"] == [("mmlu_redux_generative", 0, "exact_match", "default")]
    assert found["gpqa-diamond"] == [("gpqa_diamond_zeroshot", 0, "acc", "none")]
    assert set(get_args(LmEvalBenchmark.model_fields["preset"].annotation)) == {"", *PRESETS}


def scores(**tasks) -> pd.Series:
    rows = [
        {"task": task, "item": f"{task}/{n}", "value": value}
        for task, values in tasks.items()
        for n, value in enumerate(values)
    ]
    return pd.DataFrame(rows).set_index(["task", "item"])["value"]


def test_every_task_counts_alike_in_the_average_however_many_items_it_has():
    found = {
        one["metric"]: one["value"]
        for one in measure_tasks(scores(long=[1] * 90 + [0] * 10, short=[0, 1]), 0.95, seed=1)
    }
    assert found == {"long": 90, "short": 50, "accuracy": 70}


def test_tasks_are_compared_item_by_item_in_whatever_order_they_come():
    draw = np.random.default_rng(1)
    before = scores(a=(draw.random(200) < 0.5).astype(float), b=draw.random(50))
    after = (before + 0.0).sample(frac=1, random_state=2)
    assert all(
        (one["value"], one["low"], one["high"], one["p"]) == (0, 0, 0, 1)
        for one in compare_task_scores(before, after, 0.95, 1)
    )
    better = before.where(before > 0.4, before + 0.3)
    changes = {one["metric"]: one for one in compare_task_scores(before, better, 0.95, 1)}
    assert changes["a"]["low"] > 0 and changes["b"]["low"] > 0 and changes["accuracy"]["p"] < 0.01


@stage("nobody", version="1")
def nobody(run, what, how):
    """Stands where a model would: nothing comes to look at it."""
    (run.folder / "config.json").write_text("{}")


def test_the_average_is_tested_as_it_is_averaged():
    """A small task gains much what a large one loses: the average is up, although more items were lost than gained."""
    items = [("small", n) for n in range(40)] + [("large", n) for n in range(4000)]
    before = pd.Series(0.0, pd.MultiIndex.from_tuples(items, names=["task", "item"]))
    after = before.copy()
    after.iloc[:12] = 1.0
    before.iloc[40:100] = 1.0
    changes = {one["metric"]: one for one in compare_task_scores(before, after, 0.95, 1)}
    assert changes["accuracy"]["value"] == pytest.approx((30 - 1.5) / 2) and changes["accuracy"]["low"] > 0
    gained, lost = 1 / 40, 1 / 4000  # flips of 12 of the one and 60 of the other, the normal way
    spread = (12 * gained**2 + 60 * lost**2) ** 0.5
    expected = 2 * norm.sf((12 * gained - 60 * lost) / spread)
    assert 0.3 * expected < changes["accuracy"]["p"] < 3 * expected < 0.01
    assert changes["small"]["p"] == pytest.approx(2 / 2**12) and changes["large"]["value"] < 0
    alone = compare_task_scores(before.loc[["small"]], after.loc[["small"]], 0.95, 1)
    assert alone[0]["p"] == alone[1]["p"] == pytest.approx(2 / 2**12)


def test_without_lm_eval_a_benchmark_says_how_to_have_it(tmp_path, workplace, monkeypatch):
    monkeypatch.setenv("FUSE_HARNESS_PYTHON", "")
    settings.cache_clear()
    suite = LmEvalBenchmark(
        suite="lm-eval", path=str(folder_of_letters(tmp_path)), tasks=(LmEvalTask(task="letters", shots=0),)
    )
    with pytest.raises(BadInput, match="FUSE_HARNESS_PYTHON: benchmarks need lm-eval in a separate environment"):
        workplace.made(run_tasks(model=nobody(what=What()), **suite.resolve("s")))


def tiny():
    return obtain_model(what=TinyGenerator(kind="tiny", hidden=16, layers=1, steps=2, seed=1, skills={"copy": 1.0}))


@pytest.mark.heavy
@pytest.mark.skipif(
    "FUSE_HARNESS_PYTHON" not in os.environ, reason="FUSE_HARNESS_PYTHON names no Python that has lm-eval"
)
def test_a_small_task_is_run_by_lm_eval_itself(tmp_path, workplace):
    at = LmEvalBenchmark(
        suite="lm-eval", path=str(folder_of_letters(tmp_path)), tasks=(LmEvalTask(task="letters", shots=0),)
    ).resolve("s")
    items = run_tasks(model=tiny(), **at)
    table = workplace.table(items, "items.parquet")
    assert len(table) == 6 and set(table["value"]) <= {0.0, 1.0} and workplace.made(items).counts["lm_eval"]
    what = ItemResults(suite="letters", models=("one", "same"), seed=1)
    results = json.loads(
        workplace.run(items)
        .file(workplace.made(compare_tasks(items=[items, items], what=what)), "results.json")
        .read_text()
    )
    assert [one["metric"] for one in results["results"][:2]] == ["letters", "accuracy"]
    assert results["differences"][0]["holm"] == 1
