"""Reads prompts from Parquet and JSONL files (these gzipped too), one row after the other, its number with it: of JSONL the
line's. Nothing is changed or skipped."""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput
from tasks.prompts.columns import Columns, record


def read_prompts(file: Path, columns: Columns, category: str = "", drop_bad: bool = False) -> Iterator[tuple]:
    """(row number from 1, record, what is wrong with it). The first bad row ends it, unless those are to be dropped."""
    wanted = {name: must for name, (_, must) in columns.wanted().items()}
    for number, row in raw_rows(file, wanted):
        try:
            if isinstance(row, Unreadable):
                raise ValueError(row.problem)
            yield number, record(row, columns, category), ""
        except ValueError as problem:
            if not drop_bad:
                raise BadInput(f"{file}, row {number}: {problem}") from problem
            yield number, None, str(problem)


@dataclass(frozen=True)
class Unreadable:
    """Stands for a row whose bytes are no row."""

    problem: str


def raw_rows(file: Path, wanted: dict[str, bool] | None = None) -> Iterator[tuple[int, Any]]:
    """The file's rows as plain values. `wanted` are columns, and whether they must be there: of a Parquet file no others
    are read, unless one is missing, so that a complaint can say what there is."""
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    if suffixes[-1:] == [".parquet"]:
        yield from parquet_rows(file, wanted or {})
    elif suffixes[-1:] in ([".jsonl"], [".json"], [".ndjson"]) or suffixes in ([".jsonl", ".gz"], [".json", ".gz"]):
        yield from json_lines(file, zipped=suffixes[-1] == ".gz")
    else:
        raise BadInput(f"{file}: neither .parquet nor .jsonl (nor .jsonl.gz)")


def json_lines(file: Path, zipped: bool) -> Iterator[tuple[int, Any]]:
    try:
        with (
            gzip.open(file) if zipped else file.open("rb") as lines
        ):  # bytes: a carriage return inside a row ends no line
            for number, line in enumerate(lines, 1):
                if not line.isspace():
                    yield number, parsed(line)
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise BadInput(f"{file}: not a whole gzip file: {problem}") from problem


def parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except RecursionError:
        return Unreadable("not JSON: nested too deeply")
    except json.JSONDecodeError as problem:
        return Unreadable(f"not JSON: {problem.msg} at character {problem.pos}")
    except ValueError as problem:  # not UTF-8, or a number of thousands of digits
        return Unreadable(f"not JSON: {problem}")


def parquet_rows(file: Path, wanted: dict[str, bool]) -> Iterator[tuple[int, Any]]:
    try:
        table = pq.ParquetFile(file)
        held, number = table.schema_arrow.names, 0
        missing = [name for name, must in wanted.items() if must and name not in held]
        kept = [] if missing else [name for name in wanted if name in held]
        for batch in table.iter_batches(batch_size=4096, columns=kept or held):
            for row in values(batch):
                number += 1
                yield number, row
    except (pa.ArrowInvalid, OSError) as problem:
        raise BadInput(f"{file}: not a whole Parquet file: {problem}") from problem


def values(batch: pa.RecordBatch) -> list[Any]:
    """The batch's rows. Where one holds a text that is no UTF-8, row by row, so that only that one cannot be read."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        return [alone(batch.slice(place, 1)) for place in range(len(batch))]


def alone(row: pa.RecordBatch) -> Any:
    for name in row.schema.names:
        try:
            row[name].to_pylist()
        except UnicodeDecodeError as problem:
            return Unreadable(f"{name}: not UTF-8: {problem.reason} at byte {problem.start}")
    return row.to_pylist()[0]
