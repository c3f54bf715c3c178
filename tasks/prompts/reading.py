"""Reads prompts from Parquet and JSONL files, one row after the other, its number with it. Nothing is changed or skipped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput
from tasks.prompts.columns import Columns, record

LONGEST = 2**26  # bytes of a line
MOST_PACKED = 500


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
        for number, line in enumerate(iter(lambda: lines.readline(LONGEST + 1), b""), 1):
            if len(line) > LONGEST:
                raise BadInput(f"{file}, line {number}: longer than {LONGEST:,} bytes")
            if not line.isspace():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as problem:  # syntax, encoding, numbers and nesting beyond measure
                    raise BadInput(f"{file}, line {number}: not JSON: {problem}") from problem


def parquet_rows(file: Path, names: list[str] | None) -> Iterator[dict]:
    try:
        table = pq.ParquetFile(file)
        refuse_bomb(file, table.metadata)
        held = table.schema_arrow.names
        kept = [name for name in names or held if name in held] or held
        for batch in table.iter_batches(batch_size=rows_at_once(table.metadata), columns=kept):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as problem:
        raise BadInput(f"{file}: not a Parquet file of texts: {' '.join(str(problem).split())}") from problem


def chunks(metadata: pq.FileMetaData) -> Iterator[pq.ColumnChunkMetaData]:
    for group in range(metadata.num_row_groups):
        yield from (metadata.row_group(group).column(column) for column in range(metadata.num_columns))


def refuse_bomb(file: Path, metadata: pq.FileMetaData) -> None:
    """Text packs to a tenth, or to a hundredth where it repeats itself; zeros pack to a ten-thousandth."""
    for chunk in chunks(metadata):
        packed, unpacked = chunk.total_compressed_size, chunk.total_uncompressed_size
        if unpacked > max(2**24, MOST_PACKED * packed):
            raise BadInput(f"{file}: {chunk.path_in_schema} would unpack from {packed:,} to {unpacked:,} bytes")


def rows_at_once(metadata: pq.FileMetaData) -> int:
    """Each row of a column with a dictionary may be as large as all of the column is in the file."""
    largest = max((chunk.total_uncompressed_size for chunk in chunks(metadata)), default=0)
    return min(4096, max(16, 2**28 // max(largest, 1)))
