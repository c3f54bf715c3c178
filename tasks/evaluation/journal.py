"""An append-only file of replies that were paid for: written before anything else is done with them, read after a kill."""

import json
import os
from pathlib import Path


def read(file: Path) -> dict[str, dict]:
    """Replies by request. A line that a kill tore off is no reply."""
    if not file.exists():
        return {}
    found = {}
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found.setdefault(row["request"], row)
    return found


class Journal:
    """Open for appending; whole lines in one write each, so that several writers do not mix them."""

    def __init__(self, file: Path):
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if torn(file):
            os.write(self.file, b"\n")

    def append(self, row: dict) -> None:
        os.write(self.file, json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *problem: object) -> None:
        os.close(self.file)


def torn(file: Path) -> bool:
    with file.open("rb") as lines:
        return lines.seek(0, os.SEEK_END) > 0 and (lines.seek(-1, os.SEEK_END), lines.read(1))[1] != b"\n"
