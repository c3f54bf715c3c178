"""Checks the names of stored files, and measures their size and sha256."""

import hashlib
from typing import Annotated, BinaryIO

from pydantic import AfterValidator, Field

BLOCK = 2**20
DRAFT = ".draft-"


def is_name(path: str) -> bool:
    """True if `path` is a relative name that stays under its root and is not the name of a draft."""
    segments = path.split("/")
    bad = ("", ".", "..")
    return path.isprintable() and "\\" not in path and not any(s in bad or s.startswith(DRAFT) for s in segments)


def _name(value: str) -> str:
    if not is_name(value):
        raise ValueError(f"{value!r} is not a relative name")
    return value


Name = Annotated[str, AfterValidator(_name)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0)]


def measure_stream(stream: BinaryIO) -> tuple[int, str]:
    """Returns (size, sha256) of the rest of a stream."""
    size, digest = 0, hashlib.sha256()
    while block := stream.read(BLOCK):
        size += len(block)
        digest.update(block)
    return size, digest.hexdigest()
