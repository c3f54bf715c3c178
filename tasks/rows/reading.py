"""Reads a pool: all rows of its parts, in batches, each part checked against its name and its columns."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput
from infra.manifest import FileEntry
from tasks.execution import Run

BATCH = 8192


def drop_held(rows: pd.DataFrame, held: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    marked = rows.merge(held[key], on=key, how="left", indicator=True)
    return marked.query("_merge == 'left_only'").drop(columns="_merge")


def read_pool(
    run: Run, pool: str, key: list[str], columns: list[str] | None = None, known: Collection[str] = ()
) -> pd.DataFrame:
    """All rows of the pool except those of `known` parts, one per key. If two runs made the same row, the row of the part
    with the first name counts."""
    found = list(join_small_batches(cast_batches(run, read_batches(run, pool, columns, known))))
    return pa.concat_tables(found).to_pandas().drop_duplicates(key) if found else pd.DataFrame(columns=key)


Batches = Iterator[tuple[FileEntry, pa.RecordBatch]]


def read_batches(run: Run, pool: str, columns: list[str] | None, known: Collection[str] = ()) -> Batches:
    """The batches of all parts that are not in `known`, in the order of the parts' names."""
    entries = [entry for entry in run.store.parts(pool) if entry.name not in known]
    for entry, file in run.store.fetch_parts(entries):
        # use_threads=False: starting threads for each of many small files costs more than the reading
        for batch in open_part(run, entry, file, columns).iter_batches(BATCH, columns=columns, use_threads=False):
            yield entry, batch


def cast_batches(run: Run, found: Batches) -> Iterator[pa.RecordBatch]:
    first = None
    for entry, batch in found:
        first = first or (entry.name, batch.schema)
        if batch.schema != first[1]:
            raise BadInput(
                f"{run.store.blobs.url}/{entry.path}: its columns differ from those of {first[0]} in this pool;"
                " delete the wrong file"
            )
        yield batch


def join_small_batches(found: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in few tables, since a pool may have a hundred thousand parts of a few rows each."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in found:
        held.append(batch)
        rows += len(batch)
        if rows >= BATCH:
            yield pa.Table.from_batches(held).combine_chunks()
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


def open_part(run: Run, entry: FileEntry, file: Path, columns: list[str] | None) -> pq.ParquetFile:
    """Opens a part and checks its columns and row count, since another program may have written a file with a valid name."""
    where = f"{run.store.blobs.url}/{entry.path}"
    try:
        found = pq.ParquetFile(file)
    except pa.ArrowException as problem:
        raise BadInput(f"{where}: not a Parquet file ({problem}); delete this file") from problem
    if lacking := set(columns or ()) - set(found.schema_arrow.names):
        raise BadInput(f"{where}: lacks the columns {', '.join(sorted(lacking))} of this pool; delete this file")
    if found.metadata.num_rows != entry.rows:
        raise BadInput(
            f"{where}: has {found.metadata.num_rows} rows, but {entry.rows} according to its name; delete this file"
        )
    return found
