"""Reads prompts from Parquet and JSONL files, one row after the other, its number with it. Nothing is changed or skipped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput
from tasks.prompts.columns import Columns, record


def read_prompts(file: Path, columns: Columns, category: str = "", drop_bad: bool = False) -> Iterator[tuple]:
    """(row number from 1, record, what is wrong with it). The first bad row ends it, unless those are to be dropped."""
    for number, row in enumerate(raw_rows(file, list(columns.wanted())), 1):
        try:
            yield number, record(row, columns, category), ""
        except ValueError as problem:
            if not drop_bad:
                raise BadInput(f"{file}, row {number}: {problem}") from problem
            yield number, None, str(problem)


def raw_rows(file: Path, names: list[str] | None = None) -> Iterator[Any]:
    """The file's rows as plain values; of a Parquet file only the columns of these names, if all of them are known."""
    if file.suffix == ".parquet":
        yield from parquet_rows(file, names)
        return
    with file.open("rb") as lines:  # as bytes: text mode would take a carriage return inside of a row for its end
        for number, line in enumerate(lines, 1):
            if not line.isspace():
                try:
                    yield json.loads(line)
                except (json.JSONDecodeError, UnicodeDecodeError) as problem:
                    raise BadInput(f"{file}, line {number}: not JSON: {problem}") from problem


def parquet_rows(file: Path, names: list[str] | None) -> Iterator[dict]:
    try:
        table = pq.ParquetFile(file)
        held = table.schema_arrow.names
        kept = [name for name in names or held if name in held] or held
        for batch in table.iter_batches(batch_size=4096, columns=kept):
            yield from batch.to_pylist()
    except (pa.ArrowInvalid, UnicodeDecodeError) as problem:
        raise BadInput(f"{file}: not a Parquet file of texts: {problem}") from problem
