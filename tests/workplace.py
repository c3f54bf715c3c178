"""Where a test makes artifacts: a real store, the real launcher and a workspace, all in the test's own folder."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from infra.launch import Launcher
from infra.manifest import ArtifactReference, Manifest
from infra.store import Store
from tasks.execution import Run, ensure_artifact
from tasks.stage import Step, lineage


def as_made(step: Step) -> Manifest:
    """A manifest of the step, as small as can be."""
    return Manifest(
        stage=step.stage.name,
        version=step.stage.version,
        fingerprint=step.fingerprint,
        label=step.label,
        what=step.what.model_dump(mode="json"),
        inputs={
            name: [ArtifactReference(stage=each.stage.name, fingerprint=each.fingerprint) for each in given]
            for name, given in step.inputs.items()
        },
        files=(),
        counts={},
        provenance={},
        started="2026-11-21T00:00:00+00:00",
        seconds=0.0,
        attempt="one",
    )


@dataclass
class Workplace:
    folder: Path
    launcher: Launcher = field(default_factory=lambda: Launcher(slots=1, threads=1))

    def __post_init__(self):
        self.store = Store(str(self.folder / "store"), self.folder / "cache")

    def made(self, step: Step) -> Manifest:
        """The step's manifest, inputs first; what stands in the store is found."""
        return [ensure_artifact(each, self.store, self.launcher) for each in lineage(step)][-1]

    def table(self, step: Step, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.store.fetch(self.made(step), [name]) / name)

    def run(self, step: Step) -> Run:
        return Run(step, self.store, self.launcher, self.folder / "scratch" / "by-hand")
