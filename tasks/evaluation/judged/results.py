"""Measuring a judged suite: writes `results.json` with each model's metrics, intervals and counts, and the differences.

Each column names its judge (`LC@judge`), because numbers of two judges are not comparable.
"""

from pydantic import Field

from infra.manifest import Manifest
from tasks.evaluation.judged.questions import SuiteName
from tasks.evaluation.judged.suites import SUITES
from tasks.execution import Run
from tasks.stage import How, Seed, What, stage

Manifests = tuple[Manifest, ...]


class Measuring(What):
    suite: SuiteName
    judge: str = Field(description="the judge's name, shown beside the numbers")
    models: tuple[str, ...] = Field(min_length=1, description="names; the others are compared with the first")
    published: tuple[str, ...] = Field(default=(), description="models whose answers came with published preferences")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    seed: Seed


@stage("suite results", version="2")
def measure_suite(
    run: Run, what: Measuring, how: How, suite: Manifests, judgements: Manifests, published: Manifests = ()
) -> None:
    out = run.program(
        "tasks.evaluation.judged.results_program",
        {
            "what": what.model_dump(mode="json"),
            "folder": str(run.fetch(suite[0], SUITES[what.suite].names(suite[0].what["files"]))),
            "judged": [str(run.file(made, "judgements.parquet")) for made in judgements],
            "published": {
                name: str(run.file(made, "published.parquet"))
                for name, made in zip(what.published, published, strict=True)
            },
            "answers": [str(run.file(made, "answers.parquet")) for made in judgements],
        },
    )
    run.keep(out, "results.json")
