"""Manifests: the files of an artifact by sha256, its inputs, and the stored form."""

import hashlib
import json
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, field_validator

from infra.names import Name, Sha256, Size

FORMAT = 1  # version of a manifest's form
CLOCKED = "speed.parquet"  # the file in which an artifact keeps measured times


class FileEntry(BaseModel, frozen=True, extra="forbid"):
    name: Name  # inside the artifact
    path: Name  # under the root of the store; may be in a pool
    sha256: Sha256
    size: Size
    rows: int | None = None


class ArtifactReference(BaseModel, frozen=True, extra="forbid"):
    stage: str
    fingerprint: str


class NewerManifest(ValueError):
    """The manifest is complete, but only a later version of this project can read its form."""


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
        """Refuses a name that appears twice, or that is also a folder of another name."""
        names = {entry.name for entry in files}
        if len(names) < len(files):
            raise ValueError("a file's name occurs twice")
        if above := {str(folder) for name in names for folder in PurePosixPath(name).parents} & names:
            raise ValueError(f"{min(above)!r} is both a file and a folder")
        return files

    @property
    def content(self) -> str:
        """The digest of all files but the measured times."""
        return content_of([entry for entry in self.files if entry.name != CLOCKED])

    @property
    def commit(self) -> str:
        """The commit of the code that made the artifact."""
        return str(self.provenance.get("commit", "unknown"))[:12]

    def render(self) -> bytes:
        """The stored form: JSON of the fields plus a `digest`, the sha256 of these fields."""
        body = self.model_dump(mode="json")
        return as_json(body | {"digest": hashlib.sha256(as_json(body)).hexdigest()})

    @classmethod
    def parse(cls, raw: bytes) -> "Manifest":
        """Raises ValueError unless `raw` equals the output of `render`, byte for byte."""
        fields = json.loads(raw)
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")
        digest = fields.pop("digest", None)
        if digest != hashlib.sha256(as_json(fields)).hexdigest():
            raise ValueError("its digest does not match its fields")
        if isinstance(fields.get("format"), int) and fields["format"] > FORMAT:
            raise NewerManifest(
                f"has format {fields['format']}, from a newer version of this project; this version reads format {FORMAT}"
            )
        found = cls.model_validate(fields)
        if found.render() != raw:
            raise ValueError("its bytes differ from those that this project writes")
        return found


def as_json(fields: dict) -> bytes:
    return json.dumps(fields, sort_keys=True, indent=1, allow_nan=False).encode()


def content_of(entries: Collection[FileEntry]) -> str:
    named = sorted((entry.name, entry.sha256) for entry in entries)
    return hashlib.sha256(json.dumps(named, separators=(",", ":")).encode()).hexdigest()
