"""An append-only file of replies that were paid for: written before anything else is done with them, read after a kill.

A line begins with the sha256 of what follows: one that was torn off, or has changed since, is no reply.
"""

import errno
import hashlib
import json
import os
from pathlib import Path


def read(file: Path) -> dict[str, dict]:
    """Replies by request."""
    if not file.exists():
        return {}
    found = {}
    for line in file.read_bytes().split(b"\n"):
        digest, _, written = line.partition(b" ")
        if digest == digest_of(written):
            row = json.loads(written)
            found.setdefault(row["request"], row)
    return found


def digest_of(written: bytes) -> bytes:
    return hashlib.sha256(written).hexdigest().encode()


class Journal:
    """Open for appending; whole lines in one write each, so that several writers do not mix them."""

    def __init__(self, file: Path):
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if torn(file):
            os.write(self.file, b"\n")

    def append(self, row: dict) -> None:
        written = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")
        line = digest_of(written) + b" " + written + b"\n"
        if os.write(self.file, line) < len(line):
            raise OSError(errno.ENOSPC, "a reply that was paid for could not be written down whole")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *problem: object) -> None:
        os.close(self.file)


def torn(file: Path) -> bool:
    with file.open("rb") as lines:
        return lines.seek(0, os.SEEK_END) > 0 and (lines.seek(-1, os.SEEK_END), lines.read(1))[1] != b"\n"
