"""Trainings that survive a kill: what a program leaves in `checkpoints/` goes to the store, and comes back from it.

The program renames each folder into place when it is whole; here the newest is taken away, committed, and older ones
dropped, while the program goes on.
"""

import os
import re
import shutil
from pathlib import Path

from infra.checkpoints import Checkpoints
from infra.errors import CorruptArtifact, ProgramKilled
from infra.settings import settings
from tasks.execution import Run

KEPT = 2


def train(run: Run, module: str, job: dict, group: int, restarts: int = 0) -> Path:
    """Runs a training program, from the newest complete checkpoint of this step where there is one. A program that is killed
    goes on from its own newest, so many times."""
    name = f"{run.step.stage.name}-{run.step.fingerprint[:8]}"
    job = {**job, "report": str(settings().workspace.absolute() / "runs" / name)}
    deaths = 0
    while True:
        try:
            return train_once(run, module, job, group)
        except ProgramKilled as problem:
            if deaths == restarts or run.launcher.stopped.is_set():
                raise
            deaths += 1
            run.count(restarts=deaths)
            words = f"goes on from its newest checkpoint: {str(problem).partition(';')[0]}"
            run.observe(run.step, words, 0, 0, "")


def train_once(run: Run, module: str, job: dict, group: int) -> Path:
    stored, out = Checkpoints(run.store.blobs, run.step.address), run.scratch / "program"
    shutil.rmtree(out, ignore_errors=True)  # what a killed program left has been committed, or is not whole
    if folder := newest(run, stored):
        job = {**job, "resume": str(folder)}
        run.count(resumed_at=int(folder.name))
    return run.program(module, job, lambda: commit(stored, out, run.scratch / "committing"), group=group)


def newest(run: Run, stored: Checkpoints) -> Path | None:
    """The newest checkpoint that is whole. One may lack something where two held the lease, and one dropped the other's.
    Damaged ones are passed over for an older one, and said; where no other is left, a person decides."""
    damaged: dict[str, CorruptArtifact] = {}
    shutil.rmtree(run.scratch / "resume", ignore_errors=True)
    for name in reversed(stored.names()):
        try:
            stored.fetch(name, run.scratch / "resume" / name)
        except FileNotFoundError:
            continue
        except CorruptArtifact as problem:
            damaged[name] = problem
            continue
        if damaged:
            pass_over(run, stored, damaged, name)
        return run.scratch / "resume" / name
    for problem in damaged.values():
        raise problem
    return None


def pass_over(run: Run, stored: Checkpoints, damaged: dict[str, CorruptArtifact], name: str) -> None:
    """The damaged ones are dropped with their bytes, as the training will write the same files again."""
    for one, problem in damaged.items():
        run.observe(run.step, f"{problem}; the training goes on from the older checkpoint {name}", 0, 0, "")
        stored.discard(one)
    stored.drop(keep=KEPT)
    run.count(damaged_checkpoints=len(damaged))


def commit(stored: Checkpoints, out: Path, place: Path) -> None:
    """The newest whole checkpoint of the program, moved out of its reach first, since it deletes old ones itself. Of a
    program that is done none is needed: its model is there."""
    whole = sorted(path for path in (out / "checkpoints").glob("*") if re.fullmatch("[0-9]{9}", path.name))
    if not whole or (out / "summary.json").exists():
        return
    place.mkdir(exist_ok=True)
    os.replace(whole[-1], place / whole[-1].name)
    stored.keep(place / whole[-1].name, whole[-1].name)
    stored.drop(keep=KEPT)
    shutil.rmtree(place)
