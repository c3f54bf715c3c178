"""Who was paused for longer than its lease writes nothing once another has taken over the step: over a folder and over S3."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fencing import written
from tests.infra.conftest import place
from tests.infra.seaweed import seaweed
from tests.patience import end_of, wait_until

__all__ = ["place", "seaweed"]
ROOT = Path(__file__).parents[1]


@contextmanager
def worker(place, kind: str, folder: Path):
    """At work on the step, and told to write nothing yet."""
    command = [sys.executable, "-m", "tests.fencing", place.url, json.dumps(place.options), kind, str(folder)]
    own = {"FUSE_LEASE_SECONDS": "1", "FUSE_WORKSPACE": str(place.scratch / "workspace")}
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["artifact", "rows", "checkpoint"])
def test_a_worker_that_was_paused_writes_nothing_beside_its_successor(place, tmp_path, kind):
    (folder := tmp_path / "signs").mkdir()
    sign = lambda process, what="": folder / f"{process.pid}{what}"
    objects = lambda: {path for path in place.blobs().list("") if not path.startswith(("_leases", "_probe"))}
    with ExitStack() as stack:
        paused = stack.enter_context(worker(place, kind, folder))
        wait_until(lambda: sign(paused).exists())
        paused.send_signal(signal.SIGSTOP)
        successor = stack.enter_context(worker(place, kind, folder))
        wait_until(lambda: sign(successor).exists())
        sign(paused, ".go").touch()
        paused.send_signal(signal.SIGCONT)
        wait_until(lambda: paused.poll() is not None or objects())
        assert objects() == set()
        ended = end_of(paused)
        assert objects() == set() and ended.returncode == 1 and "LeaseLost" in ended.stderr
        sign(successor, ".go").touch()
        if kind == "artifact":
            assert end_of(successor).returncode == 0
            store, address = place.store(), written(kind, str(folder)).address
            assert store.manifest(*address.split("/")).attempt.startswith("2-")
        else:
            wait_until(lambda: sign(successor, ".written").exists())
            assert objects()


def test_a_worker_that_was_paused_and_has_no_successor_goes_on(place, tmp_path):
    (folder := tmp_path / "signs").mkdir()
    with worker(place, "artifact", folder) as process:
        wait_until(lambda: (folder / f"{process.pid}").exists())
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)  # its lease has expired
        (folder / f"{process.pid}.go").touch()
        process.send_signal(signal.SIGCONT)
        assert end_of(process).returncode == 0
    address = written("artifact", str(folder)).address
    assert place.store().manifest(*address.split("/")).attempt.startswith("1-")
