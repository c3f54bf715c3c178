"""Results of a matrix: each variant's numbers, its difference to the base on the same prompts, and the p-value.

A variant that was not run, or failed, has no number (it does not count as zero).
"""

import json
from collections.abc import Collection
from typing import Literal, cast

import pandas as pd

from flows.ablation import FULL, VariantRun
from flows.config.matrix import Matrix
from flows.results.matrix_suites import suite_cell, suites_asked
from infra.store import Store
from tasks.evaluation.statistics import apply_holm, bootstrap_mean, compute_mcnemar_p, compute_sign_flip_p
from tasks.stage import lineage

METRICS = {"accuracy": "correct", "win_rate": "win_rate"}
LAST_MODEL = "WRPO"  # the chain's name of its final model


def matrix_table(matrix: Matrix, runs: list[VariantRun], store: Store, failed: Collection[str] = ()) -> dict:
    """The results as plain values, for the terminal and the page. `failed`: addresses of steps that just failed."""
    full, seed = runs[0], runs[0].recipe.evaluation.seed
    confidence = full.recipe.evaluation.confidence
    answers, swept = {run.variant.name: read_last_answers(run, store) for run in runs}, find_axes(matrix)
    obstacles = {run.variant.name: no_accuracy(run, store) for run in runs}
    rows = [
        {
            "variant": run.variant.name,
            "hypothesis": run.variant.hypothesis,
            "expects": run.variant.expects,
            "changes": list_changes(run),
            "state": variant_state(run, answers[run.variant.name], failed),
            "report": run.last.address,
            "swept": swept.get(run.variant.name),
            "reward_accuracy": reward_accuracy(run, store) if run.variant.name in swept else None,
            "metrics": {
                metric: compare_to_full(answers[run.variant.name], answers[FULL], column, run is full, confidence, seed)
                for metric, column in METRICS.items()
            },
            "states": {},
            "no_accuracy": obstacles[run.variant.name],
        }
        for run in runs
    ]
    for suite in (suites := suites_asked(runs)):
        for run, row in zip(runs, rows, strict=True):
            row["metrics"][key_of(suite)], row["states"][key_of(suite)] = suite_cell(full, run, suite, store, failed)
    cells = [cell for row in rows for cell in row["metrics"].values()]
    apply_holm([cell["difference"] for cell in cells if cell and cell["difference"]], confidence)
    columns = [make_column(metric, metric.replace("_", " "), metric.replace("_", " "), "share") for metric in METRICS]
    columns += [make_column(key_of(suite), suite, name_measure(suite, rows), "points") for suite in suites]
    return {"name": matrix.name, "base": matrix.base, "confidence": confidence, "columns": columns, "rows": rows}


def key_of(suite: str) -> str:
    return f"suite {suite}"


def name_measure(suite: str, rows: list[dict]) -> str:
    """The suite's metric and judge, from the first run that has results."""
    known = [cell["column"] for row in rows if (cell := row["metrics"][key_of(suite)])]
    return known[0] if known else "result"


def make_column(key: str, title: str, measure: str, scale: Literal["share", "points"]) -> dict:
    return {"key": key, "title": title, "measure": measure, "scale": scale}


def find_axes(matrix: Matrix) -> dict[str, dict]:
    """The position of each variant on the axis of its sweep. Only sweeps over one field with numeric values: these can be
    drawn as a figure."""
    found = {}
    for sweep in matrix.sweeps:
        (axis, values), *others = sweep.over.items()
        if not others and all(type(value) in (int, float) for value in values):
            for variant, value in zip(sweep.variants(), values, strict=True):
                found[variant.name] = {"sweep": sweep.name, "axis": axis, "at": value}
    return found


def reward_accuracy(run: VariantRun, store: Store) -> float | None:
    """How often the sources' best answer had the higher reward than the target's worst at the end of training: the mean over
    the last tenth of the steps."""
    step = run.last.inputs["wrpo"][0]
    manifest = store.manifest(step.stage.name, step.fingerprint)
    if manifest is None:
        return None
    rows = pd.read_parquet(store.fetch(manifest, ["steps.parquet"]) / "steps.parquet")
    known = rows["accuracy_source"].dropna() if "accuracy_source" in rows else rows.iloc[:0, 0]
    known = cast("pd.Series", known)
    return float(known.tail(max(1, len(known) // 10)).mean()) if len(known) else None


def read_last_answers(run: VariantRun, store: Store) -> pd.DataFrame | None:
    """The final model's answers to the held-out prompts; None if the variant was not evaluated."""
    manifest = store.manifest(run.evaluation.stage.name, run.evaluation.fingerprint)
    if manifest is None:
        return None
    rows = pd.read_parquet(store.fetch(manifest, ["answers.parquet"]) / "answers.parquet")
    return rows[rows["model"] == LAST_MODEL].set_index("prompt_id")


def no_accuracy(run: VariantRun, store: Store) -> str | None:
    """The reason why the variant's final model has no accuracy; None if it has one, or if there is no evaluation."""
    manifest = store.manifest(run.evaluation.stage.name, run.evaluation.fingerprint)
    if manifest is None:
        return None
    found = json.loads((store.fetch(manifest, ["results.json"]) / "results.json").read_text())
    own = [row.get("no_accuracy") for row in found.get("results", ()) if row["model"] == LAST_MODEL]
    return found["no_accuracy"] or next(iter(own), None)


def variant_state(run: VariantRun, answers: pd.DataFrame | None, failed: Collection[str]) -> str:
    if answers is not None:
        return "done"
    broken = [step.label for step in lineage(run.last) if step.address in failed]
    return f"failed: {broken[0]}" if broken else "not run"


def list_changes(run: VariantRun) -> list[str]:
    return [f"{path} = {json.dumps(value, ensure_ascii=False)}" for path, value in run.variant.set.items()] + [
        f"without {path}" for path in run.variant.drop
    ]


def compare_to_full(
    variant: pd.DataFrame | None, full: pd.DataFrame | None, column: str, is_full: bool, confidence: float, seed: int
) -> dict | None:
    """The variant's value and its difference to the base; None if there is no value, for example without gold answers."""
    if variant is None or not len(known := variant[column].dropna()):
        return None
    found = {
        "estimate": bootstrap_mean(known.to_numpy(dtype=float), confidence, seed),
        "known": len(known),
        "difference": None,
    }
    if is_full or full is None:
        return found
    common = known.index.intersection(full[column].dropna().index).sort_values()
    if not len(common):  # a variant with another seed has other held-out prompts, so there is nothing to compare
        return found
    after, before = (table.loc[common, column].to_numpy(dtype=float) for table in (variant, full))
    p = compute_mcnemar_p(before == 1, after == 1) if column == "correct" else compute_sign_flip_p(after - before, seed)
    return {**found, "difference": {**bootstrap_mean(after - before, confidence, seed), "p": p, "prompts": len(common)}}
