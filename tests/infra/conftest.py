"""The same cases over a folder and over a real S3 server."""

from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from infra.blobs import Blobs
from infra.store import Store
from tests.infra.seaweed import seaweed

__all__ = ["place", "seaweed"]


@dataclass(frozen=True)
class Place:
    url: str
    scratch: Path
    options: dict = field(default_factory=dict)

    def blobs(self) -> Blobs:
        return Blobs(self.url, self.options)

    def store(self, cache: str = "cache") -> Store:
        return Store(self.url, self.scratch / cache, self.options)

    @property
    def remote(self) -> bool:
        return self.url.startswith("s3:")


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "file":
        return Place(f"file://{tmp_path}/store", tmp_path)
    server = request.getfixturevalue("seaweed")
    return Place(f"{server.url}/{uuid4().hex}", tmp_path, server.options())
