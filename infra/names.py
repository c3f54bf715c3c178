"""What may be the name of a stored thing, and the measure of its bytes."""

import hashlib
from typing import Annotated, BinaryIO

from pydantic import AfterValidator, Field

BLOCK = 2**20
DRAFT = ".draft-"


def is_name(path: str) -> bool:
    """Whether `path` is a relative name that stays under its root and cannot be taken for a draft."""
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
    """(size, sha256) of what a stream still holds."""
    size, digest = 0, hashlib.sha256()
    while block := stream.read(BLOCK):
        size += len(block)
        digest.update(block)
    return size, digest.hexdigest()
