"""The workspace's own Prefect server: shared while used, stopped when nobody is left, killed users included."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from infra.prefect_server import healthy, local_server, running
from tests.hostile.listening import addresses
from tests.patience import wait_until

HOLD = (
    "import sys, time; from pathlib import Path; from infra.prefect_server import local_server\n"
    "with local_server(Path(sys.argv[1])) as address: print(address, flush=True); time.sleep(3600)"
)


def hold(home) -> tuple[subprocess.Popen, str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def test_users_share_one_server_and_the_last_one_ends_it_even_when_killed(tmp_path):
    first, address = hold(tmp_path)
    assert healthy(address) and addresses(urlsplit(address).port) == {"127.0.0.1"}
    with local_server(tmp_path) as again:
        assert again == address
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        time.sleep(3)
        assert healthy(address)
    wait_until(lambda: not healthy(address))
    assert running(tmp_path) is None
