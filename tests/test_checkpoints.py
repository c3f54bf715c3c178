"""A training stage killed with its program goes on from the store's newest checkpoint, and leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.store import Store
from tests.trained import step

ROOT = Path(__file__).parents[1]


def bring(folder: Path) -> subprocess.Popen:
    environment = os.environ | {"FUSE_WORKSPACE": str(folder / "space")}
    command = [sys.executable, "-m", "tests.trained", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)


def made(folder: Path):
    return Store(str(folder / "store"), folder / "cache").manifest("sft", step(10).fingerprint)


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "store/_checkpoints/sft").glob("*/*.json"))  # the markers


def test_a_killed_stage_goes_on_from_the_store_to_the_same_bytes_and_leaves_no_checkpoint(tmp_path):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    assert bring(unbroken).wait(300) == 0
    process = bring(killed)
    while not checkpoints(killed):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert made(killed) is None and 1 <= len(checkpoints(killed)) <= 3
    assert bring(killed).wait(300) == 0
    assert made(killed).counts["resumed_at"] >= 10
    assert [entry.sha256 for entry in made(killed).files] == [entry.sha256 for entry in made(unbroken).files]
    for folder in (unbroken, killed):
        assert not [path for path in (folder / "store/_checkpoints").rglob("*") if path.is_file()]
    assert "resumed_at" not in made(unbroken).counts
