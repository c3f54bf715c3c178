"""The stage that writes the report: `report.html` (one file, no network) and its numbers, `numbers.json`."""

import json
from datetime import UTC, datetime

from pydantic import Field

from infra.manifest import Manifest
from tasks.execution import Run
from tasks.report import numbers, page
from tasks.stage import How, What, stage

Manifests = tuple[Manifest, ...]


ESTIMATES = "_estimates"  # where the store keeps the estimates that were made before a run, by the report's address


class Report(What):
    sources: tuple[str, ...] = Field(description="the sources' names")
    jury: tuple[str, ...] = Field(default=(), description="names of the additional reward models")
    suites: tuple[str, ...] = Field(default=(), description="names of the suites on which the models were evaluated")
    recipe: dict = Field(description="the recipe's values that can change a result")


@stage("report", version="3")
def write_report(run: Run, what: Report, how: How, **inputs: Manifests) -> None:
    found = {
        "recipe": what.recipe["name"],
        "fingerprint": run.step.fingerprint,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe_text": json.dumps(what.recipe, indent=2, ensure_ascii=False),
        **numbers.collect_numbers(run, what.sources, what.jury, what.suites, inputs),
    }
    numbers.add_estimates(found["costs"], read_estimates(run))
    (run.folder / "numbers.json").write_text(json.dumps(found, indent=1, allow_nan=False))
    (run.folder / "report.html").write_text(page.render_report_page(found), encoding="utf-8")
    run.count(rows=len(found["results"]))


def read_estimates(run: Run) -> dict[str, dict]:
    """The estimates of the steps, by address; empty if the run was not planned with prices."""
    try:
        return json.loads(run.store.blobs.read(f"{ESTIMATES}/{run.step.address}.json"))
    except FileNotFoundError:
        return {}
