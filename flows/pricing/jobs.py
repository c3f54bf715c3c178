"""Planned steps and stored artifacts in one form: both have a stage, settings, inputs and counts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.plan import COMPARED, Planned
from flows.pricing.model_sizes import ModelSize, size_of_model
from infra.manifest import Manifest
from infra.store import Store
from tasks.models.stage import FolderAt
from tasks.stage import How, Step


@dataclass
class Job:
    """The counts of an artifact are known; those of a planned step are predicted."""

    address: str
    stage: str
    label: str
    what: dict
    inputs: dict[str, list[str]]
    counts: dict = field(default_factory=dict)
    how: How | None = None  # of a planned step
    pool: str | None = None
    gpus: int = 0  # that each program of a planned step needs
    manifest: Manifest | None = None

    @property
    def programs(self) -> int:
        return self.how.programs if self.how else 1


def job_of_step(step: Step, manifest: Manifest | None) -> Job:
    inputs = {name: [item.address for item in steps] for name, steps in step.inputs.items()}
    what, counts = step.what.model_dump(mode="json"), dict(manifest.counts) if manifest else {}
    return Job(
        step.address, step.stage.name, step.label, what, inputs, counts, step.how, step.pool, step.gpus, manifest
    )


def job_of_artifact(manifest: Manifest) -> Job:
    inputs = {
        name: [f"{item.stage}/{item.fingerprint}" for item in references]
        for name, references in manifest.inputs.items()
    }
    address = f"{manifest.stage}/{manifest.fingerprint}"
    return Job(address, manifest.stage, manifest.label, manifest.what, inputs, dict(manifest.counts), manifest=manifest)


class Jobs:
    """All jobs by address: the steps of a plan, and the newest artifacts of the same stages as evidence."""

    def __init__(self, planned: Sequence[Planned], store: Store):
        self.store = store
        self.steps = [job_of_step(entry.step, entry.manifest) for entry in planned]
        self.known: dict[str, Job | None] = {job.address: job for job in self.steps}
        self.evidence: dict[str, list[Job]] = {}
        self.measured: dict[str, list] = {}  # by stage, what `estimate.py` made of the evidence

    def artifacts(self, stage: str) -> list[Job]:
        """Newest first."""
        if stage not in self.evidence:
            found = self.store.manifests(stage, newest=COMPARED)
            ordered = sorted(found, key=lambda manifest: manifest.started, reverse=True)
            self.evidence[stage] = [job_of_artifact(manifest) for manifest in ordered]
        return self.evidence[stage]

    def at(self, address: str) -> Job | None:
        """A planned step, or an artifact of the store; None if it was deleted."""
        if address not in self.known:
            manifest = self.store.manifest(*address.split("/"))
            self.known[address] = job_of_artifact(manifest) if manifest else None
        return self.known[address]

    def inputs(self, job: Job, name: str) -> list[Job]:
        return [found for address in job.inputs.get(name, []) if (found := self.at(address))]

    def model_of(self, job: Job, name: str = "model") -> Job | None:
        """The step that obtained the model which this job uses; for a trained model the one that it was trained from."""
        for found in self.inputs(job, name):
            return found if found.stage == "model" else self.model_of(found)
        return None

    def size_of(self, job: Job, name: str = "model") -> ModelSize | None:
        model = job if job.stage == "model" else self.model_of(job, name)
        if model is None:
            return None
        folder = Path(model.how.path) if isinstance(model.how, FolderAt) else None
        if folder is None and model.what.get("kind") == "folder" and model.manifest:
            folder = self.store.fetch(model.manifest) / "model"
        return size_of_model(model.what, folder)
