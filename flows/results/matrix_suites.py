"""What a matrix says of suites: the main number of each run's last model, and its difference to the base's on the same
questions. The others stand in the runs' own reports: they would make the family of claims larger, and none of them sure."""

from collections.abc import Collection, Sequence

from flows.ablation import Run
from flows.results.examination import main_result, results
from flows.suites.comparisons import comparisons, suites_of
from infra.store import Store

ENDS = ("value", "low", "high")


def suites_asked(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in suites_of(run.last)))


def suite_cell(full: Run, run: Run, suite: str, store: Store, failed: Collection[str]) -> tuple[dict | None, str]:
    """Beside it its state: a number only where this is done."""
    own = suites_of(run.last).get(suite)
    if own is None:
        return None, "not asked"
    found = results(own, store, failed)
    if found["state"] != "done":
        return None, found["state"]
    main = main_result(found, own.what.models[-1])
    cell = {"estimate": {end: main[end] for end in ENDS}, "column": main["column"], "known": None, "difference": None}
    step = None if run is full else comparisons(full.last, run.last, run.recipe.name).get(suite)
    if step is None:
        return cell, "done"
    pair = results(step, store, failed)
    if pair["state"] != "done":
        return {**cell, "alone": f"comparison {pair['state']}"}, "done"
    changes = [one for one in pair["differences"] if one["metric"] == main["metric"]]
    difference = {name: changes[0][name] for name in (*ENDS, "p")} | {"prompts": None} if changes else None
    return {**cell, "difference": difference}, "done"
