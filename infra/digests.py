"""Computes the sha256 of files and caches it by path, size and time, so that planning stays fast."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from infra.settings import settings


def files_digest(files: Sequence[Path]) -> str:
    """The sha256 of one file; for several files the sha256 of the list of theirs, in order and without names."""
    found = [file_digest(file) for file in files]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(f"{one}\n" for one in found).encode()).hexdigest()


def file_digest(file: Path) -> str:
    """The sha256 of a file. A cached one is used only if size, time to the nanosecond and inode are unchanged."""
    state = file.stat()
    key = f"{file.absolute()}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ino}"
    memory = settings().workspace / "cache" / "digests" / hashlib.sha256(key.encode()).hexdigest()
    try:
        return json.loads(memory.read_text())
    except (FileNotFoundError, ValueError):
        with file.open("rb") as data:
            found = hashlib.file_digest(data, "sha256").hexdigest()
    if state.st_size > 2**20:  # reading a smaller file is as fast as reading the cache
        memory.parent.mkdir(parents=True, exist_ok=True)
        draft = memory.with_name(f"draft-{uuid4().hex}")
        draft.write_text(json.dumps(found))
        os.replace(draft, memory)
    return found
