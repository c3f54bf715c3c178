"""Suites in the results of a matrix: the main metric of each run's final model, and its difference to the base on the same
questions. Other metrics are only in the runs' reports: more comparisons would make every p-value larger (Holm)."""

from collections.abc import Collection, Sequence
from typing import cast

from flows.ablation import VariantRun
from flows.results.examination import main_result, read_suite_results
from flows.suites.comparisons import compare_suites, suites_of
from infra.store import Store
from tasks.evaluation.benchmarks.item_results import ItemResults
from tasks.evaluation.checked import CheckedResults
from tasks.evaluation.judged.results import Measuring

ENDS = ("value", "low", "high")


def suites_asked(runs: Sequence[VariantRun]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in suites_of(run.last)))


def suite_cell(
    full: VariantRun, run: VariantRun, suite: str, store: Store, failed: Collection[str]
) -> tuple[dict | None, str]:
    """The value of a run on a suite, or None, and its state ("done" if there is a value)."""
    own = suites_of(run.last).get(suite)
    if own is None:
        return None, "not asked"
    found = read_suite_results(own, store, failed)
    if found["state"] != "done":
        return None, found["state"]
    last = cast("ItemResults | CheckedResults | Measuring", own.what).models[-1]
    if (main := main_result(found, last)) is None:
        return None, f"no accuracy: {found['no_accuracy'][last]}"
    cell = {"estimate": {end: main[end] for end in ENDS}, "column": main["column"], "known": None, "difference": None}
    step = None if run is full else compare_suites(full.last, run.last, run.recipe.name).get(suite)
    if step is None:
        return cell, "done"
    pair = read_suite_results(step, store, failed)
    if pair["state"] != "done":
        return {**cell, "alone": f"comparison {pair['state']}"}, "done"
    changes = [change for change in pair["differences"] if change["metric"] == main["metric"]]
    difference = {name: changes[0][name] for name in (*ENDS, "p")} | {"prompts": None} if changes else None
    return {**cell, "difference": difference}, "done"
