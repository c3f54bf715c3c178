"""`fuse up`, `fuse down`: Prefect's server, an S3 server, and a worker per pool on one machine, kept alive by a keeper
(`flows/deploy/stack_keeper.py`). History, keys, artifacts and logs stay in WORKSPACE/stack."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.errors import BadInput
from infra.seaweed import port_is_free
from infra.services import end, marked
from infra.settings import settings, stack_environment

START_SECONDS = 300


def stack_folder() -> Path:
    return settings().workspace.absolute() / "stack"


def up() -> dict:
    """Starts the stack if it does not run yet; returns its addresses when all services answer."""
    folder = stack_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "up.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # if two commands run at once, one starts the stack and the other finds it
        while kept(folder) and "problem" in read_state(folder):
            time.sleep(0.2)  # an earlier start failed, and its keeper is still stopping the services
        if not kept(folder):
            start_keeper(folder)
    return wait_until_ready(folder)


def start_keeper(folder: Path) -> None:
    """Starts the keeper; returns when it holds its lock and has written its state."""
    end(marked(folder))  # processes left by a keeper that was killed
    refuse_taken_ports()
    (folder / "state.json").unlink(missing_ok=True)
    with (folder / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "flows.deploy.stack_keeper"],
            env=stack_environment(folder, {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while not read_state(folder):
        if keeper.poll() is not None:
            raise RuntimeError(f"the stack did not start; see {folder / 'keeper.log'}")
        time.sleep(0.05)


def refuse_taken_ports() -> None:
    chosen = settings()
    ports = {"FUSE_UI_PORT": chosen.ui_port} | ({} if chosen.store else {"FUSE_S3_PORT": chosen.s3_port})
    for name, port in ports.items():
        if not port_is_free(port):
            raise BadInput(f"{name}: port {port} of 127.0.0.1 is taken by another program; set it to a free port")


def wait_until_ready(folder: Path) -> dict:
    deadline = time.monotonic() + 2 * START_SECONDS
    while time.monotonic() < deadline:
        lives, state = kept(folder), read_state(folder)
        if problem := state.get("problem"):
            raise BadInput(problem)
        if not lives:
            raise BadInput("the stack was stopped while it started")
        if state.get("ready"):
            return state
        time.sleep(0.2)
    raise RuntimeError(f"the stack did not start in time; see {folder / 'keeper.log'}")


def read_state(folder: Path) -> dict:
    with contextlib.suppress(FileNotFoundError):
        return json.loads((folder / "state.json").read_text())
    return {}


def down() -> bool:
    """Stops everything; False if nothing ran. After the next `fuse up`, interrupted runs continue."""
    folder = stack_folder()
    if not folder.exists():
        return False
    ran = kept(folder)
    if ran:
        os.kill(read_state(folder)["keeper"], signal.SIGTERM)
        deadline = time.monotonic() + START_SECONDS
        while kept(folder) and time.monotonic() < deadline:
            time.sleep(0.2)
    left = marked(folder)
    end(left)
    return ran or bool(left)


def kept(folder: Path) -> bool:
    """Whether a keeper is running: it holds its lock as long as it lives."""
    with open(folder / "keeper.lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
