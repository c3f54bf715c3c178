"""The workspace's own Prefect server: shared while used, stopped when nobody is left, killed users included."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

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


def run_flow(api: str) -> list[int]:
    """What a short flow run with one task asks of the server; the status of each answer."""
    with httpx.Client(base_url=api, timeout=120) as http:
        answers = [http.post("/flows/", json={"name": "squares"})]
        answers += [http.post("/flow_runs/", json={"flow_id": answers[0].json()["id"]})]
        run = answers[-1].json()["id"]
        state = lambda kind: {"state": {"type": kind}, "force": True}
        answers += [http.post(f"/flow_runs/{run}/set_state", json=state(kind)) for kind in ("PENDING", "RUNNING")]
        task = {"flow_run_id": run, "task_key": "square", "dynamic_key": uuid4().hex}
        answers += [http.post("/task_runs/", json=task)]
        answers += [http.post("/artifacts/", json={"key": "p", "type": "progress", "data": 1, "flow_run_id": run})]
        answers += [http.post(f"/flow_runs/{run}/set_state", json=state("COMPLETED"))]
    return [answer.status_code for answer in answers]


def test_many_who_write_at_once_are_all_answered(tmp_path):
    """SQLite has one writer at a time; the others wait for their turn and are not refused."""
    with local_server(tmp_path) as api, ThreadPoolExecutor(8) as threads:
        answers = [status for statuses in threads.map(run_flow, [api] * 24) for status in statuses]
    assert len(answers) == 24 * 7 and all(status < 300 for status in answers), answers
