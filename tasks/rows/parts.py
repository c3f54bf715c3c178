"""Writes a program's rows in parts, each complete or absent, so that finished rows survive a kill."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.program import Progress

Rows = list[dict]


MANY = 10_000  # rows after which a part is closed before its time


class Parts:
    """Collects rows and closes a part once it is large or `seconds` old; a kill loses at most the open part."""

    def __init__(self, schema: pa.Schema, out: Path, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.schema, self.out, self.seconds, self.clock = schema, out, seconds, clock
        self.rows: Rows = []
        self.written = self.number = 0
        self.opened = clock()

    def add(self, rows: Rows) -> None:
        self.rows += rows
        if self.clock() - self.opened >= self.seconds or len(self.rows) >= MANY:
            self.close()

    def close(self) -> None:
        """Writes the collected rows as a part and opens the next part."""
        if self.rows:
            write_part(self.rows, self.schema, self.out / f"part-{self.number:09d}.parquet")
        self.written, self.number, self.rows, self.opened = (
            self.written + len(self.rows),
            self.number + 1,
            [],
            self.clock(),
        )

    @property
    def count(self) -> int:
        return self.written + len(self.rows)


def write_in_parts(
    rows: Rows, how: dict, schema: pa.Schema, out: Path, progress: Progress, work: Callable[[Rows], Rows]
) -> int:
    """Runs `work` over the rows in batches and writes a part every few batches; returns the number of tokens made."""
    size, tokens, part = how["batch_size"], 0, []
    for number, start in enumerate(range(0, len(rows), size), 1):
        part += work(rows[start : start + size])
        done = min(start + size, len(rows))
        if done == len(rows) or number % how["batches_per_part"] == 0:
            tokens += sum(row["tokens"] or 0 for row in part)
            write_part(part, schema, out / f"part-{start:09d}.parquet")
            part = []
        progress(done, len(rows))
    return tokens


def write_part(rows: Rows, schema: pa.Schema, file: Path) -> None:
    """Writes a draft file, then renames it."""
    draft = file.with_name(f"draft-{file.name}")
    pq.write_table(pa.Table.from_pylist(rows, schema), draft, compression="zstd")
    os.replace(draft, file)
