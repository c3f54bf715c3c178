"""Program: the keeper of the stack on one machine. Starts Prefect's server, an S3 server and a worker per pool in order,
registers the deployments, restarts services that die, and stops everything on SIGTERM (`flows/deploy/stack.py`)."""

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from flows.deploy.stack import START_SECONDS, stack_folder
from infra.errors import BadInput
from infra.folder import draft_of
from infra.gpus import find_gpus
from infra.prefect_server import is_healthy
from infra.seaweed import PORTS, free_ports, port_is_free, server_command, worker_identity
from infra.services import Service, Services
from infra.settings import settings, stack_environment

BUCKET = "artifacts"
POOLS = ("cpu", "gpu-sample", "gpu-score", "gpu-train")


def keep_stack(folder: Path) -> None:
    """Starts the stack and keeps it alive until SIGTERM."""
    services = Services(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(folder / "keeper.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_state(folder, ready=False)
        try:
            environment = start_services(folder, services)
            write_state(folder, ready=True, environment=str(folder / "environment"), **describe_places(environment))
            while True:
                services.revive()
                services.shorten_logs()
                time.sleep(1)
        except (RuntimeError, BadInput) as problem:
            write_state(folder, ready=False, problem=str(problem))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            services.stop()


def start_services(folder: Path, services: Services) -> dict[str, str]:
    """Starts all services in order; returns the environment variables for runs on this stack."""
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
    services.wait_until(lambda: is_healthy(environment["PREFECT_API_URL"]), "prefect", START_SECONDS)
    if not settings().store:
        services.wait_until(lambda: not port_is_free(settings().s3_port), "s3", START_SECONDS)
    answer = subprocess.run(
        [sys.executable, "-m", "flows.deploy.register"], env=everything, capture_output=True, text=True
    )
    if answer.returncode:
        raise RuntimeError(f"the deployments were not registered:\n{answer.stderr[-3000:]}")
    for pool in POOLS:
        limited = () if pool == "cpu" else ("--limit", str(runs_at_once()))
        words = (sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", f"{pool}@home", *limited)
        services.start(Service(f"worker-{pool}", words, everything))
    return environment


def runs_at_once() -> int:
    """The number of parallel runs of a pool's worker: one for each GPU (the ledger assigns GPUs); one without GPUs."""
    return max(len(find_gpus()), 1)


def own_environment(folder: Path) -> dict[str, str]:
    """The stack's addresses and keys, also written to a file that only its owner can read and that a shell can source."""
    file = folder / "environment"
    place = {"FUSE_STORE": settings().store_url} if settings().store else own_store(file)
    environment = {"PREFECT_API_URL": f"http://127.0.0.1:{settings().ui_port}/api", **place}
    with draft_of(file) as draft:
        draft.touch(0o600)
        draft.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()))
        os.replace(draft, file)
    return environment


def own_store(file: Path) -> dict[str, str]:
    """The S3 server's address and keys; keys from an earlier start are kept."""
    before = dict(read_entries(file)) if file.exists() else {}
    keys: dict[str, str] = worker_identity(BUCKET)["credentials"][0]
    return {
        "FUSE_STORE": f"s3://{BUCKET}/fusion",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{settings().s3_port}",
        "AWS_ACCESS_KEY_ID": before.get("AWS_ACCESS_KEY_ID", keys["accessKey"]),
        "AWS_SECRET_ACCESS_KEY": before.get("AWS_SECRET_ACCESS_KEY", keys["secretKey"]),
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def read_entries(file: Path) -> Iterator[tuple[str, str]]:
    for line in file.read_text().splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        yield name, value


def s3_command(folder: Path, environment: dict[str, str]) -> list[str]:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) | {"s3.port": settings().s3_port}
    rights = worker_identity(BUCKET)
    rights["credentials"] = [
        {"accessKey": environment["AWS_ACCESS_KEY_ID"], "secretKey": environment["AWS_SECRET_ACCESS_KEY"]}
    ]
    return server_command(folder / "s3", ports, BUCKET, [rights])


def describe_places(environment: dict[str, str]) -> dict[str, str]:
    return {"ui": environment["PREFECT_API_URL"].removesuffix("/api"), "store": environment["FUSE_STORE"]}


def write_state(folder: Path, **state) -> None:
    with draft_of(folder / "state.json") as draft:
        draft.write_text(json.dumps({"keeper": os.getpid(), **state}))
        os.replace(draft, folder / "state.json")


if __name__ == "__main__":
    keep_stack(stack_folder())
