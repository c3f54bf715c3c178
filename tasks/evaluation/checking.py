"""Measuring a checked suite: leaves `results.json`, every model's share of right answers, and McNemar's test of differences.

What is right a program says that knows the prompts' gold answers; no judge, and the same shape of results as with one.
"""

import json

import numpy as np
import pandas as pd
from pydantic import Field

from infra.errors import BadInput
from infra.store import Manifest
from tasks.evaluation.degenerate import flags
from tasks.evaluation.statistics import holm, interval, mcnemar
from tasks.execution import Run
from tasks.stage import How, Seed, What, stage

Manifests = tuple[Manifest, ...]


class Checking(What):
    suite: str = Field(description="the suite's name")
    models: tuple[str, ...] = Field(min_length=1, description="names; the first is what the others are compared with")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    seed: Seed


@stage("checked results", version="1")
def measure_checked(run: Run, what: Checking, how: How, prompts: Manifests, responses: Manifests) -> None:
    golds = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "gold"]).dropna()
    if golds.empty:
        raise BadInput(f"suites.{what.suite}: no prompt has a gold answer to check with")
    said = {name: answers(run, made, golds) for name, made in zip(what.models, responses, strict=True)}
    right = {name: (rows["text"].str.strip() == rows["gold"].str.strip()).to_numpy() for name, rows in said.items()}
    found = {
        "suite": what.suite,
        "judge": "gold",
        "confidence": what.confidence,
        "results": [
            {
                "model": name,
                "metric": "accuracy",
                "column": "accuracy",
                "full_marks": 100,
                **interval(100.0 * values, what.confidence, what.seed),
            }
            for name, values in right.items()
        ],
        "counts": {name: counts(rows) for name, rows in said.items()},
        "differences": differences(right, what),
    }
    (run.folder / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False))
    run.count(rows=sum(map(len, said.values())), prompts=len(golds))


def answers(run: Run, responses: Manifest, golds: pd.DataFrame) -> pd.DataFrame:
    rows = pd.read_parquet(run.file(responses, "responses.parquet"), columns=["prompt_id", "sample_index", "text"])
    rows = golds.merge(rows[rows["sample_index"] == 0], on="prompt_id", how="left").sort_values("prompt_id")
    if rows["text"].isna().any():
        raise BadInput(f"{responses.label}: {int(rows['text'].isna().sum())} prompts have no answer")
    return rows


def counts(rows: pd.DataFrame) -> dict[str, int | float]:
    said = {prompt: (text,) for prompt, text in zip(rows["prompt_id"], rows["text"], strict=True)}
    empty = sum(reason == "empty" for reason in flags(said).values())  # short right answers do repeat
    return {"questions": len(rows), "missing": 0, "flagged": empty, "length": float(rows["text"].str.len().mean())}


def differences(right: dict[str, np.ndarray], what: Checking) -> list[dict]:
    first, *others = what.models
    found = [
        {
            "from": first,
            "to": name,
            "metric": "accuracy",
            "column": "accuracy",
            **interval(100.0 * right[name] - 100.0 * right[first], what.confidence, what.seed),
            "p": mcnemar(right[first], right[name]),
        }
        for name in others
    ]
    return [
        {**change, "holm": adjusted}
        for change, adjusted in zip(found, holm([change["p"] for change in found]), strict=True)
    ]
