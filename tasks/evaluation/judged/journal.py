"""An append-only file of paid replies. A reply is written here first, so that a kill loses no reply that was paid for.

Each line begins with the sha256 of its JSON. Incomplete or changed lines are ignored.
"""

import errno
import hashlib
import json
import os
from pathlib import Path


def read(file: Path) -> dict[str, dict]:
    """The replies by request."""
    if not file.exists():
        return {}
    replies = {}
    for line in file.read_bytes().split(b"\n"):
        digest, _, written = line.partition(b" ")
        if digest == digest_of(written):
            row = json.loads(written)
            replies.setdefault(row["request"], row)
    return replies


def digest_of(written: bytes) -> bytes:
    return hashlib.sha256(written).hexdigest().encode()


class Journal:
    """The file, open for appending. Each line is one write, so that lines of several writers do not mix."""

    def __init__(self, file: Path):
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if torn(file):  # the incomplete line of a killed writer must not damage the next line
            os.write(self.file, b"\n")

    def append(self, row: dict) -> None:
        written = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")
        line = digest_of(written) + b" " + written + b"\n"
        if os.write(self.file, line) < len(line):
            raise OSError(errno.ENOSPC, "a paid reply could not be written completely to the journal")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *problem: object) -> None:
        os.close(self.file)


def torn(file: Path) -> bool:
    with file.open("rb") as lines:
        return lines.seek(0, os.SEEK_END) > 0 and (lines.seek(-1, os.SEEK_END), lines.read(1))[1] != b"\n"
