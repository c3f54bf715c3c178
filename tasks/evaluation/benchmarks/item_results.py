"""Writes `results.json` for models with a score per item: each model's metrics, and its differences to the first model."""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd
from pydantic import Field

from tasks.evaluation.statistics import apply_holm
from tasks.execution import Run
from tasks.stage import Seed, What


class ItemResults(What):
    suite: str
    models: tuple[str, ...] = Field(
        min_length=1, description="names of the models; all others are compared with the first"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    seed: Seed


def write_item_results(
    run: Run,
    what: ItemResults,
    tables: dict[str, pd.Series],
    measure: Callable[..., list[dict]],
    compare: Callable[..., list[dict]],
    column: Callable[[str], str] = str,
    obstacles: Mapping[str, str] = MappingProxyType({}),
    **more: Any,
) -> None:
    """`tables`: the models' scores by item. `measure` computes a model's metrics, `compare` the differences of two models.
    `obstacles`: models without results, each with the reason. `more`: additional entries of the file."""
    first, *others = what.models
    changes = [
        {"from": first, "to": name, "column": column(change["metric"]), **change}
        for name in others
        if not {first, name} & set(obstacles)
        for change in compare(tables[first], tables[name], what.confidence, what.seed)
    ]
    apply_holm(changes, what.confidence)
    results = [
        {"model": name, "column": column(metric["metric"]), "full_marks": 100, **metric}
        for name, table in tables.items()
        if name not in obstacles
        for metric in measure(table, what.confidence, what.seed)
    ]
    report = {"suite": what.suite, "judge": "gold", "confidence": what.confidence, **more, "results": results}
    report["differences"] = changes
    if obstacles:
        report["no_accuracy"] = dict(obstacles)
    report["counts"] = {name: {"questions": len(table), "missing": 0, "flagged": 0} for name, table in tables.items()}
    (run.folder / "results.json").write_text(json.dumps(report, indent=1, allow_nan=False))
    run.count(rows=len(results))
