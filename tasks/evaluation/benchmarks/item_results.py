"""`results.json` of models that were scored question by question: each one's means, and the first against the others."""

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
from pydantic import Field

from tasks.evaluation.statistics import say_over_family
from tasks.execution import Run
from tasks.stage import Seed, What


class Compared(What):
    suite: str
    models: tuple[str, ...] = Field(min_length=1, description="names; the first is what the others are compared with")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    seed: Seed


def write_results(
    run: Run,
    what: Compared,
    tables: dict[str, pd.Series],
    measured: Callable[..., list[dict]],
    compared: Callable[..., list[dict]],
    column: Callable[[str], str] = str,
    **said: Any,
) -> None:
    """`tables`: the models' scores by item; `measured` and `compared` know how items make a mean."""
    first, *others = what.models
    changes = [
        {"from": first, "to": name, "column": column(found["metric"]), **found}
        for name in others
        for found in compared(tables[first], tables[name], what.confidence, what.seed)
    ]
    say_over_family(changes, what.confidence)
    results = [
        {"model": name, "column": column(one["metric"]), "full_marks": 100, **one}
        for name, table in tables.items()
        for one in measured(table, what.confidence, what.seed)
    ]
    found = {"suite": what.suite, "judge": "gold", "confidence": what.confidence, **said, "results": results}
    found["differences"] = changes
    found["counts"] = {name: {"questions": len(table), "missing": 0, "flagged": 0} for name, table in tables.items()}
    (run.folder / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False))
    run.count(rows=len(results))
