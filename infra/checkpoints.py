"""Stores checkpoints of unfinished work under its address: files named by their hash first, then a marker.

A checkpoint without a marker does not count. Only the holder of the work's lease writes here. The newest two are kept;
all are deleted once the artifact exists.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from infra.blobs import Blobs
from infra.errors import CorruptArtifact
from infra.names import Name, Sha256, Size, measure_stream


class File(BaseModel, frozen=True, extra="forbid"):
    path: Name
    size: Size
    sha256: Sha256


class Marker(BaseModel, frozen=True, extra="forbid"):
    """The files of a checkpoint, by their names inside it."""

    files: dict[Name, File]

    def render(self) -> bytes:
        """JSON of the fields plus a `digest`: the sha256 of these fields."""
        body = self.model_dump()
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return json.dumps(body | {"digest": digest}, sort_keys=True, indent=1).encode()

    @classmethod
    def parse(cls, raw: bytes) -> "Marker":
        """Raises ValueError unless `raw` equals the output of `render`, byte for byte."""
        found = cls(files=json.loads(raw)["files"])
        if found.render() != raw:
            raise ValueError("its digest does not match its fields")
        return found


class StoredCheckpoints:
    def __init__(self, blobs: Blobs, address: str):
        self.blobs, self.root = blobs, f"_checkpoints/{address}"

    def keep(self, folder: Path, name: str) -> None:
        """Writes the files first and the marker last; `name` orders checkpoints by age."""
        files = {}
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            with file.open("rb") as stream:
                size, sha256 = measure_stream(stream)
            inside = file.relative_to(folder).as_posix()
            files[inside] = File(path=f"{self.root}/data/{sha256[:20]}/{inside}", size=size, sha256=sha256)
            self.blobs.put_file(file, files[inside].path)
        self.blobs.create(f"{self.root}/{name}.json", Marker(files=files).render())

    def names(self) -> list[str]:
        """The names of the complete checkpoints, oldest first."""
        found = (path.removeprefix(f"{self.root}/") for path in self.blobs.list(self.root))
        return sorted(name.removesuffix(".json") for name in found if name.endswith(".json") and "/" not in name)

    def fetch(self, name: str, folder: Path) -> None:
        """Copies all files of a checkpoint into `folder` and checks their sha256."""
        for inside, entry in self._files(name).items():
            target = folder / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            if local := self.blobs.local(entry.path):
                shutil.copyfile(local, target)
            else:
                self.blobs.get_file(entry.path, target)
            with target.open("rb") as stream:
                if measure_stream(stream) != (entry.size, entry.sha256):
                    raise CorruptArtifact(f"{self.blobs.url}/{entry.path}: damaged")

    def problem(self, name: str) -> str | None:
        """Reads every stored byte of a checkpoint again; returns an error message or None."""
        try:
            for entry in self._files(name).values():
                if self.blobs.digest(entry.path) != (entry.size, entry.sha256):
                    return f"{self.blobs.url}/{entry.path}: damaged"
        except CorruptArtifact as problem:
            return str(problem)
        except FileNotFoundError:
            return f"{self.blobs.url}/{self.root}/{name}.json: a file that it names is missing"
        return None

    def discard(self, name: str) -> None:
        """Deletes a checkpoint's marker; the next `drop` deletes its files."""
        self.blobs.delete(f"{self.root}/{name}.json")

    def drop(self, keep: int = 0) -> None:
        """Deletes all but the newest `keep` checkpoints: markers first, then the files that no marker names."""
        names = self.names()
        for name in names[: len(names) - keep] if keep else names:
            self.discard(name)
        kept = self.names()
        needed = {entry.path for name in kept for entry in self._kept(name).values()}
        for path in self.blobs.list(self.root):
            if path not in needed and path.removeprefix(f"{self.root}/") not in {f"{name}.json" for name in kept}:
                self.blobs.delete(path)

    def _kept(self, name: str) -> dict[str, File]:
        """The files of a checkpoint; empty if another holder of the lease has deleted it, or if it is corrupt."""
        try:
            return self._files(name)
        except (FileNotFoundError, CorruptArtifact):
            return {}

    def _files(self, name: str) -> dict[str, File]:
        path = f"{self.root}/{name}.json"
        try:
            return Marker.parse(self.blobs.read(path)).files
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CorruptArtifact(f"{self.blobs.url}/{path}: not a valid checkpoint: {reason}") from error


def checkpoints_of(blobs: Blobs, addresses: set[str]) -> Iterator[tuple[str, str]]:
    """The (address, name) of each complete checkpoint of these addresses, by a single listing."""
    for path in blobs.list("_checkpoints"):
        address, _, name = path.removeprefix("_checkpoints/").rpartition("/")
        if address in addresses and name.endswith(".json"):
            yield address, name.removesuffix(".json")
