"""What an artifact is: its files by sha256, what it was made of, and the form in which this is written down."""

import hashlib
import json
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, field_validator

from infra.names import Name, Sha256, Size

FORMAT = 1  # of a manifest
CLOCKED = "speed.parquet"  # by this name an artifact keeps what a clock said while it was made


class FileEntry(BaseModel, frozen=True, extra="forbid"):
    name: Name  # inside the artifact
    path: Name  # under the root of the store; may lie in a pool
    sha256: Sha256
    size: Size
    rows: int | None = None


class ArtifactReference(BaseModel, frozen=True, extra="forbid"):
    stage: str
    fingerprint: str


class NewerManifest(ValueError):
    """Whole, and of a form that only a later version of this project reads."""


class Manifest(BaseModel, frozen=True, extra="forbid"):
    format: Literal[1] = FORMAT
    stage: str
    version: str
    fingerprint: str
    label: str
    what: dict
    inputs: dict[str, list[ArtifactReference]]
    files: tuple[FileEntry, ...]
    counts: dict[str, float | int | str]
    provenance: dict
    started: str
    seconds: float
    attempt: str

    @field_validator("files")
    @classmethod
    def distinct(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        """No name stands twice, and none is a folder of another one."""
        names = {entry.name for entry in files}
        if len(names) < len(files):
            raise ValueError("a file's name stands twice")
        if above := {str(folder) for name in names for folder in PurePosixPath(name).parents} & names:
            raise ValueError(f"{min(above)!r} is a file and a folder")
        return files

    @property
    def content(self) -> str:
        """What was made; how fast it was made changes nothing about it."""
        return content_of([entry for entry in self.files if entry.name != CLOCKED])

    @property
    def commit(self) -> str:
        """Of the code that made it."""
        return str(self.provenance.get("commit", "unknown"))[:12]

    def render(self) -> bytes:
        """The stored form: JSON that carries the sha256 of itself without it."""
        body = self.model_dump(mode="json")
        return as_json(body | {"digest": hashlib.sha256(as_json(body)).hexdigest()})

    @classmethod
    def parse(cls, raw: bytes) -> "Manifest":
        """ValueError unless `raw` is, byte for byte, what `render` gives for its fields."""
        fields = json.loads(raw)
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")
        digest = fields.pop("digest", None)
        if digest != hashlib.sha256(as_json(fields)).hexdigest():
            raise ValueError("does not fit its own digest")
        if isinstance(fields.get("format"), int) and fields["format"] > FORMAT:
            raise NewerManifest(
                f"is of form {fields['format']}, written by a newer version; this one reads form {FORMAT}"
            )
        found = cls.model_validate(fields)
        if found.render() != raw:
            raise ValueError("is not in the form in which it was written")
        return found


def as_json(fields: dict) -> bytes:
    return json.dumps(fields, sort_keys=True, indent=1, allow_nan=False).encode()


def content_of(entries: Collection[FileEntry]) -> str:
    named = sorted((entry.name, entry.sha256) for entry in entries)
    return hashlib.sha256(json.dumps(named, separators=(",", ":")).encode()).hexdigest()
