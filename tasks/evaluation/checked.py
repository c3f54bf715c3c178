"""Measuring a checked suite: leaves `results.json`, every model's share of right answers, and McNemar's test of differences.

The checks say what is right (answers compared, programs run against tests); an answer that could not be checked is not
right, and is counted. No judge, and the same shape of results as with one.
"""

import json

import numpy as np
import pandas as pd
from pydantic import Field

from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.evaluation.degenerate import flags
from tasks.evaluation.statistics import interval, mcnemar, say_over_family
from tasks.evaluation.verdicts import add_verdicts, find_obstacle, has_gold, read_verdicts
from tasks.execution import Run
from tasks.stage import How, Seed, What, stage

Manifests = tuple[Manifest, ...]
EXAMPLES = 6


class CheckedResults(What):
    suite: str = Field(description="the suite's name")
    models: tuple[str, ...] = Field(min_length=1, description="names; the first is what the others are compared with")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    seed: Seed


@stage("checked results", version="3")
def measure_checked(
    run: Run, what: CheckedResults, how: How, prompts: Manifests, responses: Manifests, checks: Manifests
) -> None:
    golds = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "gold", "messages"])
    golds = golds[has_gold(golds["gold"])]
    made = zip(what.models, responses, checks, strict=True)
    said = {name: answers(run, name, responded, checked, golds) for name, responded, checked in made}
    if obstacle := find_obstacle(list(said.values())):
        raise BadInput(f"{what.suite}: there is no accuracy: {obstacle}")
    right = {name: (rows["check"] == 1).to_numpy() for name, rows in said.items()}
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
        "examples": examples(said),
    }
    (run.folder / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False))
    run.count(rows=sum(map(len, said.values())), prompts=len(golds))


def answers(run: Run, name: str, responses: Manifest, checks: Manifest, golds: pd.DataFrame) -> pd.DataFrame:
    """A model's first answer to each prompt with a gold, and what the checks said of it; a prompt that it has no answer to is
    not right, and is missing."""
    columns = ["prompt_id", "sample_index", "text", "content_id"]
    rows = pd.read_parquet(run.file(responses, "responses.parquet"), columns=columns)
    rows = golds.merge(rows[rows["sample_index"] == 0], on="prompt_id", how="left", validate="one_to_one")
    return add_verdicts(rows, read_verdicts(run, checks), name).sort_values("prompt_id")


def counts(rows: pd.DataFrame) -> dict[str, int | float]:
    missing, rows = int(rows["text"].isna().sum()), rows.dropna(subset="text")
    said = {prompt: (text,) for prompt, text in zip(rows["prompt_id"], rows["text"], strict=True)}
    empty = sum(reason == "empty" for reason in flags(said).values())  # short right answers do repeat
    return {
        "questions": len(rows) + missing,
        "missing": missing,
        "invalid": int(rows["check"].isna().sum()),
        "flagged": empty,
        "length": float(rows["text"].str.len().mean()) if len(rows) else 0.0,
    }


def examples(said: dict[str, pd.DataFrame]) -> list[dict]:
    """The first prompts by id, so that nobody chose them."""
    words = {1.0: "right", 0.0: "wrong"}
    return [
        {
            "prompt": next(iter(said.values()))["messages"].iloc[place][-1]["content"],
            "answers": [
                {"model": name, **shown(row["text"], words.get(row["check"], "not checked"))}
                for name, row in ((name, rows.iloc[place]) for name, rows in said.items())
            ],
        }
        for place in range(min(EXAMPLES, *map(len, said.values())))
    ]


def shown(text: str | float, verdict: str) -> dict:
    return {"text": text, "verdicts": [verdict]} if isinstance(text, str) else {"text": None, "verdicts": ["no answer"]}


def differences(right: dict[str, np.ndarray], what: CheckedResults) -> list[dict]:
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
    say_over_family(found, what.confidence)
    return found
