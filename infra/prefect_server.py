"""Starts a local Prefect server for this workspace if no other server is given. All runs share it; it stops after the last
run, also after a killed one. Its history stays in the workspace.

Every run holds a shared lock on a file. The keeper (this module as a program) stops the server once it gets an exclusive
lock on that file, which the kernel grants when all runs have ended.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from infra.settings import server_environment

START_SECONDS = 300
QUIET_CHECKS = (
    3  # number of equal counts in a row after which all finished task runs are saved, since saving is delayed
)


@contextlib.contextmanager
def local_server(home: Path) -> Iterator[str]:
    """Yields the API address of this workspace's server and keeps the server running during the block."""
    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "users.lock", "a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with open(home / "start.lock", "a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            address = running_address(home) or start_server(home)
        yield address


def running_address(home: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        address = json.loads((home / "server.json").read_text())["api"]
        if is_healthy(address):
            return address
    return None


def is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def start_server(home: Path) -> str:
    (home / "server.json").unlink(missing_ok=True)
    with open(home / "server.log", "ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "infra.prefect_server", str(home)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if address := running_address(home):
            return address
        if keeper.poll() is not None:
            break
        time.sleep(0.2)
    tail = (home / "server.log").read_text(errors="replace").splitlines()[-5:]
    raise RuntimeError(f"the local Prefect server did not start; the end of {home / 'server.log'}:\n" + "\n".join(tail))


def keep_server(home: Path) -> None:
    """The keeper's main function: starts the server, waits until it is unused and has saved its history, then stops it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/api"
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "infra.prefect_program",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-scheduler",
            "--no-late-runs",
        ],
        env=server_environment(home),
        stdin=subprocess.DEVNULL,
    )
    try:
        draft = home / "server.json.draft"
        draft.write_text(json.dumps({"api": address, "pid": server.pid}))
        os.replace(draft, home / "server.json")
        with open(home / "users.lock", "a") as users:
            wait_alone(users, server, address)
            (home / "server.json").unlink(missing_ok=True)
    finally:
        server.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        server.kill()


def wait_alone(users, server: subprocess.Popen, address: str) -> None:
    """Returns with an exclusive users' lock once the history is saved, or when the server has died."""
    while server.poll() is None:
        if is_unused(users):
            fcntl.flock(users, fcntl.LOCK_UN)  # a new run may use the server while it saves its history
            drain_server(address)
            if is_unused(users):
                return
        time.sleep(1)


def is_unused(users) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def drain_server(address: str) -> None:
    last, quiet, deadline = -1, 0, time.monotonic() + 60
    while quiet < QUIET_CHECKS and time.monotonic() < deadline:
        count = finished_task_runs(address)
        last, quiet = count, quiet + 1 if count == last else 0
        time.sleep(1)


def finished_task_runs(address: str) -> int:
    wanted = {"task_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}}
    request = urllib.request.Request(
        f"{address}/task_runs/count", json.dumps(wanted).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.read())
    except (urllib.error.URLError, OSError):
        return -1


if __name__ == "__main__":
    keep_server(Path(sys.argv[1]))
