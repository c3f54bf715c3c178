"""What running flows use: seen while they run, forgotten when they have ended, killed ones too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from infra.lease import lease
from infra.uses import HOUSEKEEPING, in_use, used
from tests.patience import STILL

STEPS = [
    SimpleNamespace(address="wrpo/aa", pool=None),
    SimpleNamespace(address="per-model-sampling/bb", pool="per-model-sampling/cc"),
]
HOLD = (
    "import sys, time; from types import SimpleNamespace; from infra.blobs import Blobs; from infra.uses import in_use\n"
    "with in_use(Blobs(sys.argv[1]), [SimpleNamespace(address='sft/dd', pool=None)]): print('held', flush=True); time.sleep(300)"
)


def test_a_running_flow_is_seen_and_forgotten_when_it_has_ended(place):
    blobs = place.blobs()
    with in_use(blobs, STEPS):
        assert used(blobs, time.time()) == {"wrpo/aa", "per-model-sampling/bb", "pools/per-model-sampling/cc"}
    assert used(blobs, time.time()) == set() and blobs.list("_uses") == {} and blobs.list("_leases/uses") == {}


def test_a_killed_flow_is_forgotten(tmp_path):
    from infra.blobs import Blobs

    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    assert used(Blobs(str(tmp_path)), time.time()) == {"sft/dd"}
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert used(Blobs(str(tmp_path)), time.time()) == set()


def test_a_flow_that_begins_waits_for_housekeeping(place):
    import threading

    blobs, begun, end = place.blobs(), threading.Event(), threading.Event()

    def run():
        with in_use(place.blobs(), STEPS):
            begun.set()
            end.wait(STILL)

    with lease(blobs, HOUSEKEEPING):
        flow = threading.Thread(target=run)
        flow.start()
        assert not begun.wait(1) and used(blobs, time.time()) == set()
    assert begun.wait(STILL)
    end.set()
    flow.join()
