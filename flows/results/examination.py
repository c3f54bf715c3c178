"""What an examination found: every suite's results, the average over suites of unlike scales, and whether the gate is passed."""

import json
from collections.abc import Collection

from flows.config.examination import Examination, Gate
from infra.store import Store
from tasks.evaluation.statistics import overall, within_noise
from tasks.stage import Step, lineage

MAIN = {"alpaca-eval": "LC", "arena-hard": "WR", "mt-bench": "overall", "align-bench": "overall"}


def summary(examination: Examination, lasts: dict[str, Step], store: Store, failed: Collection[str] = ()) -> dict:
    """As plain values, for the terminal, the page and the card. `failed`: addresses of steps that failed just now."""
    suites = [{"name": name, **results(last, store, failed)} for name, last in lasts.items()]
    return {
        "name": examination.name,
        "models": list(examination.names),
        "suites": suites,
        "averages": averages(examination.names, suites),
        "gate": gate(examination.gate, suites, examination.names[-1]) if examination.gate else None,
    }


def results(last: Step, store: Store, failed: Collection[str]) -> dict:
    manifest = store.manifest(last.stage.name, last.fingerprint)
    if manifest is None:
        broken = [step.label for step in lineage(last) if step.address in failed]
        return {
            "state": f"failed: {broken[0]}" if broken else "not run",
            "results": [],
            "differences": [],
            "counts": {},
        }
    return {"state": "done", **json.loads((store.fetch(manifest, ["results.json"]) / "results.json").read_text())}


def averages(models: Collection[str], suites: list[dict]) -> dict[str, float] | None:
    """Of each model over all suites, every one in percent of its full marks; None as long as a suite has no results."""
    if any(suite["state"] != "done" for suite in suites):
        return None
    found = {}
    for model in models:
        main = [main_result(suite, model) for suite in suites]
        found[model] = overall([(one["value"], one["full_marks"]) for one in main])
    return found


def main_result(suite: dict, model: str) -> dict:
    metric = "accuracy" if suite["judge"] == "gold" else MAIN[suite["suite"]]
    return next(one for one in suite["results"] if (one["model"], one["metric"]) == (model, metric))


def gate(wanted: Gate, suites: list[dict], candidate: str) -> dict:
    """A candidate, the last model, that lost to the first beyond noise, and by more than the margin, is not promoted; nor is
    one that was not examined. What stands between them for comparison may lose."""
    against = []
    for suite in (suite for suite in suites if suite["name"] in wanted.suites):
        changes = [one for one in suite["differences"] if one["to"] == candidate and one["metric"] != "length"]
        if suite["state"] != "done":
            against.append(f"{suite['name']}: {suite['state']}")
        elif not changes:
            against.append(f"{suite['name']}: {candidate} has nothing in common with the first model to be compared on")
        against += [
            f"{suite['name']}: {candidate} has {change['value']:+.1f} {change['column']}"
            for change in changes
            if lost(change, wanted.margin)
        ]
    return {"passed": not against, "against": against}


def lost(change: dict, margin: float) -> bool:
    certain = change["value"] < 0 and not within_noise(change)
    return certain and change["value"] < -margin
