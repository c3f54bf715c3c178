"""`fuse up`, `fuse down`: Prefect's server, an S3 server, and a worker per pool on one machine, kept alive by a keeper.

The keeper (this module as a program) starts them in order, registers the deployments, starts again what dies, and ends
everything when it is told to. What it made stays in WORKSPACE/stack: history, keys, artifacts, logs.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from infra.errors import BadInput
from infra.folder import draft_of
from infra.prefect_server import healthy
from infra.seaweed import PORTS, command, free_ports, port_is_free, worker
from infra.services import Service, Services, end, marked
from infra.settings import settings, stack_environment

BUCKET = "artifacts"
POOLS = {"cpu": None, "gpu-sample": 1, "gpu-score": 1, "gpu-train": 1}  # runs that its worker here takes at once
START_SECONDS = 300


def stack_folder() -> Path:
    return settings().workspace.absolute() / "stack"


def up() -> dict:
    """Starts what does not run yet; returns where things are once everything answers."""
    folder = stack_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "up.lock", "a") as others:
        fcntl.flock(others, fcntl.LOCK_EX)  # of two at once one starts it, the other finds it
        if not kept(folder):
            start_keeper(folder)
    return wait_until_ready(folder)


def start_keeper(folder: Path) -> None:
    """Returns when it holds its lock and has said so."""
    end(marked(folder))  # of a keeper that was killed
    refuse_taken_ports()
    (folder / "state.json").unlink(missing_ok=True)
    with (folder / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "flows.stack"],
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
            raise BadInput(f"{name}: port {port} of 127.0.0.1 is taken by another program; set it to a free one")


def wait_until_ready(folder: Path) -> dict:
    deadline = time.monotonic() + 2 * START_SECONDS
    while time.monotonic() < deadline:
        state = read_state(folder)
        if state.get("ready"):
            return state
        if problem := state.get("problem"):
            raise BadInput(problem)
        time.sleep(0.2)
    raise RuntimeError(f"the stack did not start in time; see {folder / 'keeper.log'}")


def read_state(folder: Path) -> dict:
    with contextlib.suppress(FileNotFoundError):
        return json.loads((folder / "state.json").read_text())
    return {}


def down() -> bool:
    """Ends everything; False when nothing ran. What runs were doing is found by the next `fuse up`."""
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
    """Whether a keeper lives: it holds its lock for as long as it does."""
    with open(folder / "keeper.lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def keep(folder: Path) -> None:
    """The keeper's life."""
    services = Services(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(folder / "keeper.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_state(folder, ready=False)
        try:
            environment = start(folder, services)
            write_state(folder, ready=True, environment=str(folder / "environment"), **places(environment))
            while True:
                services.revive()
                time.sleep(1)
        except (RuntimeError, BadInput) as problem:
            write_state(folder, ready=False, problem=str(problem))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            services.stop()


def start(folder: Path, services: Services) -> dict[str, str]:
    """Everything, in order; returns the environment in which runs of this stack happen."""
    environment = own_environment(folder)
    everything = stack_environment(folder, environment)
    if not settings().store:
        (folder / "s3").mkdir(exist_ok=True)
        services.start(Service("s3", tuple(s3_command(folder, environment)), everything))
    host, port = "127.0.0.1", str(settings().ui_port)
    server = (sys.executable, "-m", "infra.prefect_program", "server", "start", "--host", host, "--port", port)
    database = settings().database.get_secret_value()
    chosen = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}
    services.start(Service("prefect", server, everything | chosen))
    services.wait_until(lambda: healthy(environment["PREFECT_API_URL"]), "prefect", START_SECONDS)
    if not settings().store:
        services.wait_until(lambda: not port_is_free(settings().s3_port), "s3", START_SECONDS)
    answer = subprocess.run([sys.executable, "-m", "flows.register"], env=everything, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"the deployments were not registered:\n{answer.stderr[-3000:]}")
    for pool, limit in POOLS.items():
        limited = ("--limit", str(limit)) if limit else ()
        words = (sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", f"{pool}@home", *limited)
        services.start(Service(f"worker-{pool}", words, everything))
    return environment


def own_environment(folder: Path) -> dict[str, str]:
    """How to reach this stack, keys included; kept in a file that only its owner reads, and that any shell can source."""
    api = {"PREFECT_API_URL": f"http://127.0.0.1:{settings().ui_port}/api"}
    if settings().store:
        return {**api, "FUSE_STORE": settings().store_url}
    file = folder / "environment"
    before = dict(entries(file)) if file.exists() else {}
    keys = worker(BUCKET)["credentials"][0]
    environment = {
        **api,
        "FUSE_STORE": f"s3://{BUCKET}/fusion",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{settings().s3_port}",
        "AWS_ACCESS_KEY_ID": before.get("AWS_ACCESS_KEY_ID", keys["accessKey"]),
        "AWS_SECRET_ACCESS_KEY": before.get("AWS_SECRET_ACCESS_KEY", keys["secretKey"]),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with draft_of(file) as draft:
        draft.touch(0o600)
        draft.write_text("".join(f"export {name}={value}\n" for name, value in environment.items()))
        os.replace(draft, file)
    return environment


def entries(file: Path) -> Iterator[tuple[str, str]]:
    for line in file.read_text().splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        yield name, value


def s3_command(folder: Path, environment: dict[str, str]) -> list[str]:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) | {"s3.port": settings().s3_port}
    rights = worker(BUCKET)
    rights["credentials"] = [
        {"accessKey": environment["AWS_ACCESS_KEY_ID"], "secretKey": environment["AWS_SECRET_ACCESS_KEY"]}
    ]
    return command(folder / "s3", ports, BUCKET, [rights])


def places(environment: dict[str, str]) -> dict[str, str]:
    return {"ui": environment["PREFECT_API_URL"].removesuffix("/api"), "store": environment["FUSE_STORE"]}


def write_state(folder: Path, **state) -> None:
    with draft_of(folder / "state.json") as draft:
        draft.write_text(json.dumps({"keeper": os.getpid(), **state}))
        os.replace(draft, folder / "state.json")


if __name__ == "__main__":
    keep(stack_folder())
