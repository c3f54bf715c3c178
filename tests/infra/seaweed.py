"""A real S3 server for tests: SeaweedFS on free loopback ports, with keys, and without its telemetry and side doors."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from infra.blobs import Blobs
from infra.errors import BadInput, StoreUnreachable
from infra.seaweed import PORTS, command, free_ports, identity
from tests.patience import Patience

BUCKET = "artifacts"
RIGHTS = {
    "admin": ["Admin"],
    "worker": [f"{right}:{BUCKET}" for right in ("Read", "Write", "List")],
    "viewer": [f"{right}:{BUCKET}" for right in ("Read", "List")],
}


@dataclass(frozen=True)
class Seaweed:
    endpoint: str
    url: str = f"s3://{BUCKET}"

    def options(self, identity: str = "worker") -> dict:
        return {"key": identity, "secret": f"{identity}-secret", "endpoint_url": self.endpoint}


def identities() -> list[dict]:
    return [identity(name, name, f"{name}-secret", rights) for name, rights in RIGHTS.items()]


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    data = tmp_path_factory.mktemp("seaweed")
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    server = Seaweed(f"http://127.0.0.1:{ports['s3.port']}")
    with (data / "log.txt").open("wb") as log:
        words = command(data, ports, BUCKET, identities())
        process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_until_ready(server, process, data / "log.txt")
        yield server
    finally:
        process.kill()  # its data go with the folder; asked to terminate, it may wait for open connections
        process.wait()


def wait_until_ready(server: Seaweed, process: subprocess.Popen, log: Path) -> None:
    """Ready when a listing and a small write both succeed: the first works seconds before the second."""
    patience = Patience(lambda: log.stat().st_size)
    while True:
        try:
            blobs = Blobs(f"{server.url}/ready", server.options() | {"config_kwargs": {"retries": {"max_attempts": 1}}})
            blobs.list("")
            blobs.create(uuid4().hex, b"ready")
            return
        except (StoreUnreachable, BadInput, OSError):
            patience.check()
            if process.poll() is not None:
                pytest.fail(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)
