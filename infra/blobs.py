"""Stores named bytes in a folder, or in a bucket with S3's conditional writes.

Writes are atomic: a reader sees the old bytes or the new bytes, never a part. `create` and `compare_and_swap` are also
exclusive, which fsspec does not promise. Errors: BadInput if a person must act, StoreUnreachable if a retry may work.
"""

import copy
import os
import re
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from infra.bucket import S3Blobs
from infra.errors import BadInput, StoreUnreachable
from infra.folder import Confirm, FolderBlobs
from infra.names import is_name
from infra.settings import settings


class Fence(Protocol):
    """A lease that protects writes: both methods raise LeaseLost once another process holds it."""

    def check(self) -> None:
        """Called before a write. May renew the lease."""

    def confirm(self) -> None:
        """Called during a write to a folder, while no other process can take the lease. Only reads."""


class Blobs:
    _fences: tuple[Fence, ...] = ()

    def __init__(self, url: str, options: dict | None = None):
        scheme, separator, rest = url.rpartition("://")
        rest = rest.rstrip("/")
        self.url = scheme + separator + rest
        host = separator and "@" in rest.partition("/")[0]
        if rest and rest.isprintable() and not host and (not separator or scheme == "file"):
            root = Path(os.path.expanduser(rest)).absolute()
            if os.path.lexists(root) and not root.is_dir():
                raise BadInput(f"{self.url}: the store must be a folder, and this path is not a folder")
            self._place: FolderBlobs | S3Blobs = FolderBlobs(root, settings().store_group)
        elif scheme == "s3" and re.fullmatch(r"[a-z0-9][a-z0-9.-]+", rest.partition("/")[0]) and is_name(rest):
            self._place = S3Blobs(self.url, options or {})
        else:  # the message does not repeat the address: it may contain a password
            raise BadInput(
                "the store's address must be <folder>, file://<folder> or s3://<bucket>/<prefix>; set credentials as AWS_*"
            )

    def read(self, path: str) -> bytes:
        return self._place.read(self._checked(path))

    def digest(self, path: str) -> tuple[int, str]:
        """Returns (size, sha256) of the stored bytes, which are read as a stream."""
        return self._place.digest(self._checked(path))

    def local(self, path: str) -> Path | None:
        """The path of the bytes on this machine; None for a bucket."""
        return self._place.local(self._checked(path))

    def fenced(self, fence: Fence) -> "Blobs":
        """The same blobs for the holder of a lease: each create, put and delete first checks `fence`."""
        fenced = copy.copy(self)
        fenced._fences = (*self._fences, fence)
        return fenced

    def create(self, path: str, data: bytes) -> bool:
        """True: the store holds our value. False: another process wrote first."""
        self._check()
        return self._place.create(self._checked(path), data, self._confirm())

    def put_file(self, local: Path, path: str) -> None:
        """Uploads a file whose name holds its hash; skipped if an object of the same size is already there."""
        self._check()
        self._place.put_file(local, self._checked(path), self._confirm())

    def get_file(self, path: str, local: Path) -> None:
        self._place.get_file(self._checked(path), local)

    def list(self, prefix: str) -> dict[str, int]:
        """Path and size of everything below the folder `prefix` ("" for all), at any depth."""
        return {path: size for path, (size, _) in self.entries(prefix).items()}

    def entries(self, prefix: str) -> dict[str, tuple[int, float]]:
        """Like `list`, as (size, time of the last change in seconds since 1970 by the store's clock)."""
        return self._place.entries(self._checked(prefix) if prefix else "")

    def age(self, path: str) -> float:
        """A lower bound of the seconds since the last change, by the store's clock."""
        return self._place.age(self._checked(path))

    def compare_and_swap(self, path: str, old: bytes, new: bytes) -> bool:
        """Replaces `old` by `new`. True: the store holds `new`. A path must never hold the same value twice."""
        return self._place.compare_and_swap(self._checked(path), old, new)

    def delete(self, path: str) -> None:
        self._check()
        self._place.delete(self._checked(path), self._confirm())

    def _check(self) -> None:
        for fence in self._fences:
            fence.check()

    def _confirm(self) -> Confirm:
        fences = self._fences
        return (lambda: [fence.confirm() for fence in fences]) if fences else None

    def clock(self) -> float:
        """The store's time in seconds since 1970, read from a newly written object."""
        path = f"_probe/{uuid4().hex}"
        self.create(path, b"clock")
        _, written = self.entries("_probe")[path]
        self.delete(path)
        return written

    def drop_uploads(self, older: float = 86_400) -> None:
        """Removes the remains of interrupted writes that are more than `older` seconds old; younger ones may be active."""
        try:
            self._place.drop_uploads(older)
        except (
            BadInput
        ):  # listing uploads needs an extra permission; a life-cycle rule of the bucket can do this instead
            return

    def probe(self) -> None:
        """Raises BadInput unless this store accepts writes and refuses a second writer."""
        path = f"_probe/{uuid4().hex}"
        try:
            self.list("_probe")  # before any write: some servers create a missing bucket at the first write
            first, second = self.create(path, b"first"), self.create(path, b"second")
            if not first or second or self.read(path) != b"first":
                raise BadInput(f"{self.url}: this store ignores If-None-Match, so two runs could overwrite each other")
            self._place.probe(path)
            if not self.compare_and_swap(path, b"first", b"third") or self.read(path) != b"third":
                raise BadInput(
                    f"{self.url}: this store does not replace an object under a condition (If-Match); use another store"
                )
            self.delete(path)
        except StoreUnreachable:
            raise
        except OSError as error:
            raise BadInput(f"{self.url}: cannot be used as a store: {error}") from error

    def _checked(self, path: str) -> str:
        if not is_name(path):
            raise BadInput(f"{self.url}: {path!r} is not a name under the root of the store")
        return path
