"""Results of an examination: every suite's results, the average over suites with different scales, and the gate."""

import json
from collections.abc import Collection

from flows.config.examination import Examination, Gate
from infra.store import Store
from tasks.evaluation.statistics import compute_overall_score, is_within_noise
from tasks.stage import Step, lineage

MAIN = {"alpaca-eval": "LC", "arena-hard": "WR", "mt-bench": "overall", "align-bench": "overall"}
MAIN |= {"arena-hard-v2.0": "hard prompts"}


def summarise_examination(
    examination: Examination, lasts: dict[str, Step], store: Store, failed: Collection[str] = ()
) -> dict:
    """The results as plain values, for the terminal, the page and the card. `failed`: addresses of steps that just failed."""
    suites = [{"name": name, **read_suite_results(last, store, failed)} for name, last in lasts.items()]
    return {
        "name": examination.name,
        "models": list(examination.names),
        "suites": suites,
        "averages": average_suites(examination.names, suites),
        "gate": judge_gate(examination.gate, suites, examination.names[-1]) if examination.gate else None,
    }


def read_suite_results(last: Step, store: Store, failed: Collection[str]) -> dict:
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


def average_suites(models: Collection[str], suites: list[dict]) -> dict[str, float] | None:
    """Each model's average over all suites, in percent of each suite's full marks; None if a suite has no results yet."""
    if any(suite["state"] != "done" for suite in suites):
        return None
    found = {}
    for model in models:
        main = [main_result(suite, model) for suite in suites]
        found[model] = compute_overall_score([(result["value"], result["full_marks"]) for result in main])
    return found


def main_result(suite: dict, model: str) -> dict:
    metric = "accuracy" if suite["judge"] == "gold" else MAIN[suite["suite"]]
    return next(result for result in suite["results"] if (result["model"], result["metric"]) == (model, metric))


def judge_gate(wanted: Gate, suites: list[dict], candidate: str) -> dict:
    """The candidate (the last model) passes unless it lost to the first model by more than noise and more than the margin. It
    also fails if a suite of the gate has no results. The models between them are for comparison only."""
    against = []
    for suite in (suite for suite in suites if suite["name"] in wanted.suites):
        changes = [
            change for change in suite["differences"] if change["to"] == candidate and change["metric"] != "length"
        ]
        if suite["state"] != "done":
            against.append(f"{suite['name']}: {suite['state']}")
        elif not changes:
            against.append(f"{suite['name']}: {candidate} has no result that can be compared with the first model's")
        against += [
            f"{suite['name']}: {candidate} has {change['value']:+.1f} {change['column']}"
            for change in changes
            if is_lost(change, wanted.margin)
        ]
    return {"passed": not against, "against": against}


def is_lost(change: dict, margin: float) -> bool:
    certain = change["value"] < 0 and not is_within_noise(change)
    return certain and change["value"] < -margin
