"""Trainings that survive a kill: copies a program's checkpoints to the store, and restores them from there.

The program renames a checkpoint's folder when it is complete. While the program runs, this module moves the newest
checkpoint away, commits it to the store and drops older ones.
"""

import os
import re
import shutil
from pathlib import Path

from infra.budget import BUDGET
from infra.checkpoints import StoredCheckpoints
from infra.errors import CorruptArtifact, ProgramKilled
from infra.settings import settings
from tasks.execution import Run

KEPT = 2


def train_resumably(run: Run, module: str, job: dict, group: int, restarts: int = 0) -> Path:
    """Runs a training program from the newest complete checkpoint of this step, if there is one. Restarts a killed program
    at most `restarts` times."""
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
            words = f"the training resumes from its newest checkpoint: {str(problem).partition(';')[0]}"
            run.observe(run.step, words, 0, 0, "")


def train_once(run: Run, module: str, job: dict, group: int) -> Path:
    stored, out = StoredCheckpoints(run.store.blobs, run.step.address), run.scratch / "program"
    shutil.rmtree(out, ignore_errors=True)  # a killed program's checkpoints are committed already or incomplete
    if folder := newest_stored(run, stored):
        job = {**job, "resume": str(folder)}
        run.count(resumed_at=int(folder.name))
    return run.program(module, job, lambda: commit_checkpoint(stored, out, run.scratch / "committing"), group=group)


def newest_stored(run: Run, stored: StoredCheckpoints) -> Path | None:
    """Fetches the newest complete checkpoint. Skips one with missing files: two runs may have held the lease, and one dropped
    files of the other. Reports and skips a damaged one; raises if only damaged ones are left."""
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
            skip_damaged(run, stored, damaged, name)
        return run.scratch / "resume" / name
    for problem in damaged.values():
        raise problem
    return None


def skip_damaged(run: Run, stored: StoredCheckpoints, damaged: dict[str, CorruptArtifact], name: str) -> None:
    """Deletes the damaged checkpoints and their bytes, because the training will write the same files again."""
    for one, problem in damaged.items():
        run.observe(run.step, f"{problem}; the training resumes from the older checkpoint {name}", 0, 0, "")
        stored.discard(one)
    stored.drop(keep=KEPT)
    run.count(damaged_checkpoints=len(damaged))


def commit_checkpoint(stored: StoredCheckpoints, out: Path, place: Path) -> None:
    """Commits the program's newest complete checkpoint. Moves it away first, because the program deletes old ones. Does
    nothing if the program has finished: then its model exists. Raises BudgetReached afterwards if the budget is spent."""
    whole = sorted(path for path in (out / "checkpoints").glob("*") if re.fullmatch("[0-9]{9}", path.name))
    if not whole or (out / "summary.json").exists():
        return
    place.mkdir(exist_ok=True)
    os.replace(whole[-1], place / whole[-1].name)
    stored.keep(place / whole[-1].name, whole[-1].name)
    stored.drop(keep=KEPT)
    shutil.rmtree(place)
    BUDGET.check()
