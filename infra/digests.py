"""The sha256 of files that are read again and again: remembered by path, size and time, so that a plan stays quick."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from infra.settings import settings


def files_digest(files: Sequence[Path]) -> str:
    """Of one file its own; of several the sha256 of theirs, a line each, in order, whatever the files are called."""
    found = [file_digest(file) for file in files]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(f"{one}\n" for one in found).encode()).hexdigest()


def file_digest(file: Path) -> str:
    """The sha256 of a file's bytes. A remembered one counts only if size, time to the nanosecond and inode are the same."""
    state = file.stat()
    key = f"{file.absolute()}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ino}"
    memory = settings().workspace / "cache" / "digests" / hashlib.sha256(key.encode()).hexdigest()
    try:
        return json.loads(memory.read_text())
    except (FileNotFoundError, ValueError):
        with file.open("rb") as data:
            found = hashlib.file_digest(data, "sha256").hexdigest()
    if state.st_size > 2**20:  # less is read as quickly as remembered
        memory.parent.mkdir(parents=True, exist_ok=True)
        draft = memory.with_name(f"draft-{uuid4().hex}")
        draft.write_text(json.dumps(found))
        os.replace(draft, memory)
    return found
