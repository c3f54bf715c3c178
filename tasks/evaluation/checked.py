"""Measuring a checked suite: writes `results.json`, each model's share of right answers, with McNemar's test of differences.

The checks decide which answers are right: they compare answers or run programs against tests. An answer that could not be
checked is not right, and is counted as invalid; a model without any checked answer has no result, only a reason. The results
have the same form as those of a judged suite.
"""

import json

import numpy as np
import pandas as pd
from pydantic import Field

from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.evaluation.degenerate import find_degenerate_answers
from tasks.evaluation.statistics import apply_holm, bootstrap_mean, compute_mcnemar_p
from tasks.evaluation.verdicts import add_verdicts, find_model_obstacles, find_obstacle, has_gold, read_verdicts
from tasks.execution import Run
from tasks.stage import How, Seed, What, stage

Manifests = tuple[Manifest, ...]
EXAMPLES = 6


class CheckedResults(What):
    suite: str = Field(description="the suite's name")
    models: tuple[str, ...] = Field(
        min_length=1, description="names of the models; all others are compared with the first"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    seed: Seed


@stage("checked results", version="3")
def measure_checked(
    run: Run, what: CheckedResults, how: How, prompts: Manifests, responses: Manifests, checks: Manifests
) -> None:
    golds = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "gold", "messages"])
    golds = golds[has_gold(golds["gold"])]
    made = zip(what.models, responses, checks, strict=True)
    tables = {name: join_checked_answers(run, name, responded, checked, golds) for name, responded, checked in made}
    if obstacle := find_obstacle(list(tables.values())):
        raise BadInput(f"{what.suite}: the accuracy cannot be computed: {obstacle}")
    obstacles = find_model_obstacles(tables)
    right = {name: (rows["check"] == 1).to_numpy() for name, rows in tables.items() if name not in obstacles}
    report = {
        "suite": what.suite,
        "judge": "gold",
        "confidence": what.confidence,
        "results": [
            {
                "model": name,
                "metric": "accuracy",
                "column": "accuracy",
                "full_marks": 100,
                **bootstrap_mean(100.0 * values, what.confidence, what.seed),
            }
            for name, values in right.items()
        ],
        "counts": {name: count_checked_answers(rows) for name, rows in tables.items()},
        "differences": compare_accuracies(right, what),
        "examples": pick_checked_examples(tables),
        **({"no_accuracy": obstacles} if obstacles else {}),
    }
    (run.folder / "results.json").write_text(json.dumps(report, indent=1, allow_nan=False))
    run.count(rows=sum(map(len, tables.values())), prompts=len(golds))


def join_checked_answers(
    run: Run, name: str, responses: Manifest, checks: Manifest, golds: pd.DataFrame
) -> pd.DataFrame:
    """A row per prompt with a gold answer: the model's first answer and its verdict. A prompt without an answer has an empty
    row, which counts as missing and not right."""
    columns = ["prompt_id", "sample_index", "text", "content_id"]
    rows = pd.read_parquet(run.file(responses, "responses.parquet"), columns=columns)
    rows = golds.merge(rows[rows["sample_index"] == 0], on="prompt_id", how="left", validate="one_to_one")
    return add_verdicts(rows, read_verdicts(run, checks), name).sort_values("prompt_id")


def count_checked_answers(rows: pd.DataFrame) -> dict[str, int | float]:
    missing, rows = int(rows["text"].isna().sum()), rows.dropna(subset="text")
    texts = {prompt: (text,) for prompt, text in zip(rows["prompt_id"], rows["text"], strict=True)}
    empty = sum(
        reason == "empty" for reason in find_degenerate_answers(texts).values()
    )  # short right answers may repeat
    return {
        "questions": len(rows) + missing,
        "missing": missing,
        "invalid": int(rows["check"].isna().sum()),
        "flagged": empty,
        "length": float(rows["text"].str.len().mean()) if len(rows) else 0.0,
    }


def pick_checked_examples(tables: dict[str, pd.DataFrame]) -> list[dict]:
    """The first prompts by id (not chosen by hand), with each model's answer."""
    words = {1.0: "right", 0.0: "wrong"}
    return [
        {
            "prompt": next(iter(tables.values()))["messages"].iloc[place][-1]["content"],
            "answers": [
                {"model": name, **make_example_answer(row["text"], words.get(row["check"], "not checked"))}
                for name, row in ((name, rows.iloc[place]) for name, rows in tables.items())
            ],
        }
        for place in range(min(EXAMPLES, *map(len, tables.values())))
    ]


def make_example_answer(text: str | float, verdict: str) -> dict:
    return {"text": text, "verdicts": [verdict]} if isinstance(text, str) else {"text": None, "verdicts": ["no answer"]}


def compare_accuracies(right: dict[str, np.ndarray], what: CheckedResults) -> list[dict]:
    """Compares the models that have an accuracy with the first model, if it has one."""
    first, *others = what.models
    changes = [
        {
            "from": first,
            "to": name,
            "metric": "accuracy",
            "column": "accuracy",
            **bootstrap_mean(100.0 * right[name] - 100.0 * right[first], what.confidence, what.seed),
            "p": compute_mcnemar_p(right[first], right[name]),
        }
        for name in others
        if {first, name} <= set(right)
    ]
    apply_holm(changes, what.confidence)
    return changes
