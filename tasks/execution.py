"""Finds a step's artifact in the store, or makes it under a lease and publishes it, manifest last."""

import json
import math
import platform
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import cast

import pandas as pd
from pydantic import BaseModel, Field

from infra import hub
from infra.checkpoints import StoredCheckpoints
from infra.errors import Unavailable
from infra.gpus import name_gpus
from infra.launch import HERE, Environment, Launcher
from infra.lease import Lease, hold_lease
from infra.ledger import MESSAGE_SECONDS, Request
from infra.manifest import ArtifactReference, Manifest
from infra.scratch import new_scratch
from infra.settings import count_cores, settings
from infra.store import Store
from tasks.stage import Step

LIBRARIES = ("torch", "transformers", "trl", "accelerate", "pandas", "pyarrow", "prefect")

Observer = Callable[[Step, str, int, int, str], object]  # step, status, done, total, unit


def watch_nothing(step: Step, status: str, done: int, total: int, unit: str) -> None:
    """An observer that does nothing."""


class Share(BaseModel, frozen=True, extra="forbid"):
    """Share `number` of `of` equal shares of the rows; `number` counts from 1."""

    number: int = Field(gt=0)
    of: int = Field(gt=0)

    def __str__(self) -> str:
        return f"share {self.number} of {self.of}"

    @property
    def name(self) -> str:
        """The share's name in a path."""
        return f"{self.number}-of-{self.of}"

    def rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of this share, chosen by the hexadecimal hash in the first column: a prompt's samples stay together."""
        is_mine = lambda prompt: int(cast("str", prompt)[:8], 16) % self.of == self.number - 1
        return cast("pd.DataFrame", rows[rows.iloc[:, 0].map(is_mine).astype(bool)])


@dataclass
class Run:
    """The interface for the work of a stage: files of the inputs, a folder for the artifact, programs, and counts."""

    step: Step
    store: Store
    launcher: Launcher
    scratch: Path
    observe: Observer = watch_nothing
    counts: dict[str, float | int | str] = field(default_factory=dict)
    share: Share | None = None  # if set, the work makes only this share of the rows, and no artifact
    urgency: int = 0  # length of the longest chain of steps that depend on this step
    beside: Sequence[Step] = ()  # steps whose rows this step's programs make too, since they need the same model
    began: float = field(default_factory=time.time)
    wait_reported: float = -math.inf  # monotonic time of the last message about a wait

    @property
    def folder(self) -> Path:
        """The artifact's folder: its files are published when the work returns."""
        folder = self.scratch / "artifact"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def fetch(self, manifest: Manifest, names: Collection[str] | None = None) -> Path:
        return self.store.fetch(manifest, names)

    def file(self, manifest: Manifest, name: str) -> Path:
        return self.store.fetch(manifest, [name]) / name

    def model(self, manifest: Manifest) -> Path:
        """A folder with the model's weights and tokenizer."""
        if "hub.json" in {entry.name for entry in manifest.files}:
            return hub.local_copy(**json.loads(self.file(manifest, "hub.json").read_text()))
        return self.fetch(manifest) / "model"

    def tokenizer(self, manifest: Manifest) -> Path:
        """A folder with the model's tokenizer and configuration; for a model on a hub it lacks the weights."""
        if "hub.json" in {entry.name for entry in manifest.files}:
            return hub.local_copy(**json.loads(self.file(manifest, "hub.json").read_text()), weights=False)
        return self.model(manifest)

    def count(self, **numbers: float | int | str) -> None:
        self.counts.update(numbers)

    def request(self, rows: int = 0) -> Request:
        """The GPU request of one of the step's programs, which makes `rows` rows. A restarted program keeps the step's
        place in the queue."""
        return Request(self.step.gpus, self.step.label, self.urgency, self.began, rows)

    def report_wait(self, text: str) -> None:
        """Passes a message about a wait to the observer, at most every 30 s, since several programs may wait together."""
        if time.monotonic() - self.wait_reported >= MESSAGE_SECONDS:
            self.wait_reported = time.monotonic()
            self.observe(self.step, text, 0, 0, "")

    def progress(self, done: int, total: int, unit: str = "rows") -> None:
        self.observe(self.step, "running", done, total, unit)

    def program(
        self,
        module: str,
        job: dict,
        watch: Callable[[], None] = lambda: None,
        before: int = 0,
        group: int = 0,
        environment: Environment = HERE,
    ) -> Path:
        """Runs a program to its end and returns its folder. Its progress plus `before` finished rows becomes the step's.
        A `group` of processes divides the threads; `environment` may name a Python with other libraries."""
        out = self.scratch / "program"
        self.observe(self.step, "queued", 0, 0, "")
        started = False

        def look() -> None:
            nonlocal started
            if not started:
                self.observe(self.step, "running", 0, 0, "")
                started = True
            watch()
            self._relay(out / "progress.json", before)

        threads = max(1, self.launcher.threads // max(group, 1))
        job, wait = {**job, "threads": threads}, self.report_wait
        summary = self.launcher.run(module, job, out, look, group, environment, request=self.request(), on_wait=wait)
        self.count(**summary)
        return out

    def keep(self, out: Path, *names: str) -> None:
        """Moves a program's results into the artifact."""
        for name in names:
            shutil.move(out / name, self.folder / name)

    def _relay(self, file: Path, before: int) -> None:
        if file.exists():
            at = json.loads(file.read_text())
            self.progress(before + at["done"], before + at["total"], at["unit"])


def ensure_artifact(
    step: Step,
    store: Store,
    launcher: Launcher,
    observe: Observer = watch_nothing,
    urgency: int = 0,
    beside: Sequence[Step] = (),
) -> Manifest:
    """Returns the step's manifest from the store, or makes the artifact. The inputs must be in the store, also those of
    the steps `beside`, whose rows are made on this occasion."""

    def find() -> Manifest | None:
        return store.manifest(step.stage.name, step.fingerprint)

    if found := find():
        observe(step, "found", 0, 0, "")
        return found
    waiting = lambda message: observe(step, message, 0, 0, "")
    with hold_lease(
        store.blobs,
        step.address,
        ttl=settings().lease_seconds,
        on_wait=waiting,
        done=lambda: find() is not None,
        pause=launcher.pause,
    ) as held:
        if found := find():  # another process made it during the wait
            observe(step, "found", 0, 0, "")
            return found
        if held is None:
            raise Unavailable(
                f"{step.label}: another process made this artifact, but it is no longer in the store; run again"
            )
        observe(step, "running", 0, 0, "")
        made = make_artifact(step, held, store.fenced(held), launcher, observe, urgency, beside)
    observe(step, "done", 0, 0, "")
    return made


def make_artifact(
    step: Step,
    held: Lease,
    store: Store,
    launcher: Launcher,
    observe: Observer,
    urgency: int = 0,
    beside: Sequence[Step] = (),
) -> Manifest:
    inputs, started, clock = inputs_of(step, store), datetime.now(UTC), time.monotonic()
    scratch = new_scratch(settings().workspace / "scratch")
    run = Run(step, store, launcher, scratch, observe, urgency=urgency, beside=beside)
    run.folder.mkdir(parents=True, exist_ok=True)
    step.stage.work(run, step.what, step.how, **inputs)
    manifest = store.publish(
        run.folder,
        Manifest(
            stage=step.stage.name,
            version=step.stage.version,
            fingerprint=step.fingerprint,
            label=step.label,
            what=step.what.model_dump(mode="json"),
            inputs={
                name: [ArtifactReference(stage=m.stage, fingerprint=m.fingerprint) for m in found]
                for name, found in inputs.items()
            },
            files=(),
            counts=run.counts,
            provenance=find_provenance() | describe_gpus(step),
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - clock, 3),
            attempt=f"{held.epoch}-{uuid.uuid4().hex}",
        ),
    )
    StoredCheckpoints(store.blobs, step.address).drop()
    shutil.rmtree(run.scratch)
    return manifest


def make_share(
    step: Step,
    share: Share,
    store: Store,
    launcher: Launcher,
    observe: Observer = watch_nothing,
    urgency: int = 0,
    beside: Sequence[Step] = (),
) -> dict:
    """Makes the rows of a share in the step's pool and returns the counts. The run that makes the step's artifact finds the
    rows there and makes the missing ones."""
    if store.manifest(*step.address.split("/")):
        return {}
    scratch = new_scratch(settings().workspace / "scratch")
    run = Run(step, store, launcher, scratch, observe, share=share, urgency=urgency, beside=beside)
    run.folder.mkdir(parents=True, exist_ok=True)
    step.stage.work(run, step.what, step.how, **inputs_of(step, store))
    shutil.rmtree(run.scratch)
    return run.counts


def inputs_of(step: Step, store: Store) -> dict[str, tuple[Manifest, ...]]:
    found = {
        name: tuple(store.manifest(*each.address.split("/")) for each in steps) for name, steps in step.inputs.items()
    }
    return cast("dict[str, tuple[Manifest, ...]]", found)  # a step begins only when its inputs are in the store


@cache
def find_provenance() -> dict:
    """The versions behind an artifact: the commit of this code, the libraries, the machine."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    return {
        "commit": find_commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": count_cores(),
        **versions,
    }


def describe_gpus(step: Step) -> dict:
    """The kind of GPU and how many each program had; empty on a machine without GPUs, and for a step that needs none."""
    names = name_gpus() if step.gpus else []
    return {"gpu": names[0], "gpus_of_a_program": step.gpus} if names else {}


def find_commit() -> str:
    """The commit of this code, with `+changes` if the working tree differs; `unknown` outside a checkout."""
    here = Path(__file__).parent
    ask = lambda *words: subprocess.run(["git", "-C", here, *words], capture_output=True, text=True)
    if shutil.which("git") is None:
        return "unknown"
    head = ask("rev-parse", "HEAD")
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+changes" if ask("status", "--porcelain").stdout.strip() else "")
