"""Named bytes under one address: a folder, or a bucket with S3's conditional writes. Nothing here knows what they mean.

Writes are atomic: a reader sees the old bytes or the new, never a part. `create` and `compare_and_swap` are
exclusive as well, which fsspec alone does not promise. BadInput: a person must act. StoreUnreachable: later may work.
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


class Fence(Protocol):
    """A lease, as what is written under it knows it: raises LeaseLost once another holder has it."""

    def check(self) -> None:
        """Before a write. May renew the lease."""

    def confirm(self) -> None:
        """Within a folder's write, while no other process can take the lease over. Only reads."""


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
                raise BadInput(f"{self.url}: the store must be a folder, this is none")
            self._place: FolderBlobs | S3Blobs = FolderBlobs(root)
        elif scheme == "s3" and re.fullmatch(r"[a-z0-9][a-z0-9.-]+", rest.partition("/")[0]) and is_name(rest):
            self._place = S3Blobs(self.url, options or {})
        else:  # the address is not repeated: someone may have written a password into it
            raise BadInput(
                "a store is <folder>, file://<folder> or s3://<bucket>/<prefix>; credentials come from AWS_*"
            )

    def read(self, path: str) -> bytes:
        return self._place.read(self._checked(path))

    def digest(self, path: str) -> tuple[int, str]:
        """(size, sha256) of the stored bytes, streamed."""
        return self._place.digest(self._checked(path))

    def local(self, path: str) -> Path | None:
        """Where the bytes lie on this machine; None for a bucket."""
        return self._place.local(self._checked(path))

    def fenced(self, fence: Fence) -> "Blobs":
        """The same blobs for a holder of a lease: they are created, put and deleted only while `fence` allows it."""
        fenced = copy.copy(self)
        fenced._fences = (*self._fences, fence)
        return fenced

    def create(self, path: str, data: bytes) -> bool:
        """True: ours is the stored value. False: another one was first."""
        self._check()
        return self._place.create(self._checked(path), data, self._confirm())

    def put_file(self, local: Path, path: str) -> None:
        """For names that hold their content's hash: an object of the same size is taken for the same object."""
        self._check()
        self._place.put_file(local, self._checked(path), self._confirm())

    def get_file(self, path: str, local: Path) -> None:
        self._place.get_file(self._checked(path), local)

    def list(self, prefix: str) -> dict[str, int]:
        """Path and size of everything below the folder `prefix` ("" for all), at any depth."""
        return {path: size for path, (size, _) in self.entries(prefix).items()}

    def entries(self, prefix: str) -> dict[str, tuple[int, float]]:
        """The same with the time of the last change, in seconds since 1970 by the store's clock."""
        return self._place.entries(self._checked(prefix) if prefix else "")

    def age(self, path: str) -> float:
        """Seconds since the last change, at least, by the store's clock alone."""
        return self._place.age(self._checked(path))

    def compare_and_swap(self, path: str, old: bytes, new: bytes) -> bool:
        """True: `new` is the stored value. `old` and `new` must be unique in the life of the path."""
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
        """The store's time, in seconds since 1970: that of an object which is written now."""
        path = f"_probe/{uuid4().hex}"
        self.create(path, b"clock")
        _, written = self.entries("_probe")[path]
        self.delete(path)
        return written

    def drop_uploads(self, older: float = 86_400) -> None:
        """Removes what writes that a kill has interrupted left behind; those of the last day may still be under way."""
        try:
            self._place.drop_uploads(older)
        except (
            BadInput
        ):  # the right to list uploads is one of its own, and a life-cycle rule of the bucket does the same
            return

    def probe(self) -> None:
        """Raise BadInput unless this store can be written and really refuses a second writer."""
        path = f"_probe/{uuid4().hex}"
        try:
            self.list("_probe")  # before any write: some servers make a missing bucket on the first one
            first, second = self.create(path, b"first"), self.create(path, b"second")
            if not first or second or self.read(path) != b"first":
                raise BadInput(f"{self.url}: this store ignores If-None-Match, so two runs could overwrite each other")
            self._place.probe(path)
            if not self.compare_and_swap(path, b"first", b"third") or self.read(path) != b"third":
                raise BadInput(f"{self.url}: this store cannot replace an object under a condition")
            self.delete(path)
        except StoreUnreachable:
            raise
        except OSError as error:
            raise BadInput(f"{self.url}: cannot be used as a store: {error}") from error

    def _checked(self, path: str) -> str:
        if not is_name(path):
            raise BadInput(f"{self.url}: {path!r} is not a name under the root of the store")
        return path
