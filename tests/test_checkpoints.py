"""A training stage killed with its program goes on from the store's newest checkpoint, and leaves none behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from infra.checkpoints import StoredCheckpoints
from infra.errors import ProgramFailed, ProgramKilled
from infra.folder import DRAFT
from infra.prefect_server import local_server
from infra.store import Store
from tasks.execution import ensure_artifact
from tests import trained
from tests.patience import end_of
from tests.trained import FEWER, step

ROOT = Path(__file__).parents[1]
MODULE = "tasks.sft.train"


def bring(folder: Path, *words: str, **more: str) -> subprocess.Popen:
    environment = os.environ | {"FUSE_WORKSPACE": str(folder / "space")} | more
    command = [sys.executable, "-m", "tests.trained", str(folder), *words]
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)


def made(folder: Path, **what):
    return Store(str(folder / "store"), folder / "cache").manifest("sft", step(0, **what).fingerprint)


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "store/_checkpoints/sft").glob("*/*.json"))  # the markers


def test_a_killed_stage_resumes_to_the_same_bytes_without_checkpoints(workplace, tmp_path):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    trained.bring(unbroken)
    process = bring(killed)
    while not checkpoints(killed):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert made(killed) is None and 1 <= len(checkpoints(killed)) <= 3
    assert end_of(bring(killed), killed).returncode == 0
    assert made(killed).counts["resumed_at"] >= 10
    assert made(killed).content == made(unbroken).content
    for folder in (unbroken, killed):
        left = [path for path in (folder / "store/_checkpoints").rglob("*") if path.is_file()]
        assert not [path for path in left if not path.name.startswith(DRAFT)]  # a kill can leave a draft, swept later
    assert "resumed_at" not in made(unbroken).counts


def test_a_damaged_newest_checkpoint_is_passed_over_for_an_older_whole_one(tmp_path):
    process = bring(tmp_path)
    while len(checkpoints(tmp_path)) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    *_, older, newest = checkpoints(tmp_path)
    damaged = [tmp_path / "store" / json.loads(newest.read_text())["files"]["optimizer.safetensors"]["path"]]
    damaged[0].write_bytes(damaged[0].read_bytes()[:-1] + b"?")
    assert bring(tmp_path).wait() == 0
    counts = made(tmp_path).counts
    assert (counts["resumed_at"], counts["damaged_checkpoints"]) == (int(older.stem), 1)


def test_a_training_that_fails_keeps_its_last_good_checkpoint_in_the_store(workplace):
    last = step(every=1, learning_rate=1e30)  # the first steps of the warm-up still are numbers
    with pytest.raises(
        ProgramFailed, match=r"FloatingPointError: (?:loss|gradient norm) \[nan\] at optimizer step \d+; prompt"
    ):
        workplace.made(last)
    kept = StoredCheckpoints(workplace.store.blobs, last.address)
    assert kept.names()
    kept.fetch(kept.names()[-1], workplace.folder / "kept")
    weights = load_file(workplace.folder / "kept/model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_killed_program_resumes_as_often_as_it_may(workplace):
    """The stage lives on: only its program is killed, as the kernel does where memory is short."""
    killed: list[int] = []

    def kill_when_new(step, doing, *numbers) -> None:
        there = StoredCheckpoints(workplace.store.blobs, last.address).names()
        if doing == "running" and len(killed) < 2 and there and int(there[-1]) > 30 * len(killed):
            killed.append(int(there[-1]))
            (program,) = [one for one in psutil.Process().children(recursive=True) if MODULE in one.cmdline()]
            program.kill()

    last = step(every=10, epochs=FEWER)
    for each in (item for items in last.inputs.values() for item in items):
        workplace.made(each)
    made = ensure_artifact(last, workplace.store, workplace.launcher, kill_when_new)
    assert made.counts["restarts"] == 2 and made.counts["resumed_at"] >= killed[1] > killed[0]
    last, killed[:] = step(every=10, learning_rate=1e-4, epochs=FEWER, restarts=0), []
    with pytest.raises(ProgramKilled, match=r"tasks.sft.train was killed by signal 9: "):
        ensure_artifact(last, workplace.store, workplace.launcher, kill_when_new)
    assert len(killed) == 1


def test_an_interrupted_run_saves_and_resumes_to_the_same_bytes(workplace, tmp_path):
    """No checkpoint is due before this training's end: only the interruption can have left one."""
    unbroken, killed = workplace.made(step(0, epochs=FEWER)), tmp_path / "killed"
    with local_server(tmp_path / "prefect") as address:
        there = {"PREFECT_API_URL": address}
        for signal_, code in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)):
            process = bring(killed, "flow", **there)
            while not training(killed):
                assert process.poll() is None
                time.sleep(0.02)
            os.kill(process.pid, signal_)
            assert end_of(process, killed).returncode == code
        assert made(killed, epochs=FEWER) is None and len(checkpoints(killed)) == 2
        assert end_of(bring(killed, "flow", **there), killed).returncode == 0
    assert made(killed, epochs=FEWER).counts["resumed_at"] > 0
    assert made(killed, epochs=FEWER).content == unbroken.content


def training(folder: Path) -> bool:
    """Whether the newest program has made steps."""
    files = sorted((folder / "space/scratch").glob("*/program/progress.json"), key=lambda file: file.stat().st_mtime)
    alive = [file for file in files if not (file.parent / "checkpoints").exists()]
    return bool(alive) and '"steps"' in alive[-1].read_text()
