"""Reads rows of a Parquet file of texts as plain values. Invalid UTF-8 makes only that row a bad row; refuses a file that
would unpack to many times its size."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput

MOST_PACKED = 500
MOST_VALUES = 2**20  # limit for a column of lists in one row group, where equal items take almost no bytes


@dataclass(frozen=True)
class Unreadable:
    """Takes the place of a row that cannot be read."""

    problem: str


def parquet_rows(file: Path, wanted: dict[str, bool]) -> Iterator[tuple[int, Any]]:
    try:
        table = pq.ParquetFile(file)
        refuse_bomb(file, table.metadata)
        held, number = table.schema_arrow.names, 0
        missing = [name for name, must in wanted.items() if must and name not in held]
        kept = [] if missing else [name for name in wanted if name in held]
        for batch in table.iter_batches(batch_size=rows_at_once(table.metadata), columns=kept or held):
            for row in batch_values(batch):
                number += 1
                yield number, row
    except (pa.ArrowException, OSError, OverflowError) as problem:
        raise BadInput(f"{file}: not a complete Parquet file: {' '.join(str(problem).split())}") from problem


def batch_values(batch: pa.RecordBatch) -> list[Any]:
    """The batch's rows. If it contains invalid UTF-8, it is read row by row, so that only the bad row is lost."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        return [row_value(batch.slice(place, 1)) for place in range(len(batch))]


def row_value(row: pa.RecordBatch) -> Any:
    for name in row.schema.names:
        try:
            row[name].to_pylist()
        except UnicodeDecodeError as problem:
            return Unreadable(f"{name}: not UTF-8: {problem.reason} at byte {problem.start}")
    return row.to_pylist()[0]


def column_chunks(metadata: pq.FileMetaData) -> Iterator[tuple[int, pq.ColumnChunkMetaData]]:
    """Yields every column chunk with the number of its rows."""
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        yield from ((rows.num_rows, rows.column(column)) for column in range(metadata.num_columns))


def refuse_bomb(file: Path, metadata: pq.FileMetaData) -> None:
    """Refuses a file that would unpack to far more than its size. Real text compresses to a tenth, repeated text to a
    hundredth, but zeros to a ten-thousandth; a list of millions of equal items takes only a few bytes."""
    for rows, chunk in column_chunks(metadata):
        packed, unpacked = chunk.total_compressed_size, chunk.total_uncompressed_size
        if unpacked > max(2**24, MOST_PACKED * packed):
            raise BadInput(f"{file}: {chunk.path_in_schema} would unpack from {packed:,} to {unpacked:,} bytes")
        if chunk.num_values > max(MOST_VALUES, rows, MOST_PACKED * packed):
            raise BadInput(f"{file}: {chunk.path_in_schema} has {chunk.num_values:,} values in {packed:,} bytes")


def rows_at_once(metadata: pq.FileMetaData) -> int:
    """Rows per batch, small enough for memory: with dictionary encoding, each row may be as large as the whole column."""
    largest = max((chunk.total_uncompressed_size for _, chunk in column_chunks(metadata)), default=0)
    return min(4096, max(16, 2**28 // max(largest, 1)))
