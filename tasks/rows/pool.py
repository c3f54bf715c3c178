"""Pools of rows for sampling and scoring: rows in a pool are never made again, missing rows are made in parts.

A program writes `part-*.parquet` files into its folder while it runs. Each part is added to the pool as soon as it is
complete, so a kill loses only the unfinished part.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from infra.budget import BUDGET
from infra.errors import BadInput
from infra.manifest import FileEntry
from tasks.execution import Run
from tasks.rows.turns import take_turn
from tasks.rows.workers import WorkerGroup, Workers

BATCH = 8192
BUCKET = 20_000  # rows that are in memory at once when a pool's extract is written


def fill_pool(
    run: Run, wanted: pd.DataFrame, key: list[str], schema: pa.Schema, module: str, job: dict, **worker_settings: Any
) -> pd.DataFrame:
    """Returns the rows of `wanted` (unique by `key`), in its order: from the pool, or made by the program `module`.

    The program gets the missing rows, in the order of `wanted`, as the file job["rows"]. A run of one share makes only its
    share and returns an empty table. `worker_settings`: the other fields of `Workers` (workers, restarts, …).
    """
    make_missing(run, wanted, key, Workers(module, **worker_settings), job)
    if run.share:
        return pd.DataFrame(columns=schema.names)
    held = read_pool(run, pool_of(run), key)
    complete = wanted[key].merge(held, on=key, how="left", validate="one_to_one", indicator=True)
    refuse_lost(run, complete, module)
    return complete[schema.names]


def make_missing(
    run: Run, wanted: pd.DataFrame, key: list[str], workers: Workers, job: dict, exclusive: bool = False
) -> None:
    """Makes the missing rows of `wanted` in the run's share and adds them to the pool. `exclusive`: waits while another step
    fills the pool, then makes the rows that are still missing. Steps with another n or other prompts share rows with this
    step, and both would make them if they ran at the same time."""
    pool = pool_of(run)

    def left(rows: pd.DataFrame, known: Collection[str] = ()) -> pd.DataFrame:
        return drop_held(rows, read_pool(run, pool, key, key, known), key)

    known = {entry.name for entry in run.store.parts(pool)}
    missing = left(wanted)
    held = len(wanted) - len(missing)
    if run.share:
        wanted, missing = run.share.rows(wanted), run.share.rows(missing)
    waiting = lambda message: run.observe(run.step, message, 0, 0, "")
    turn = take_turn(run.store.blobs, pool, run.share, waiting, run.launcher.pause)
    with turn if exclusive and len(missing) else nullcontext() as lease:
        run = replace(run, store=run.store.fenced(lease)) if lease else run
        missing = left(missing, known) if exclusive else missing  # reads only the parts that came during the wait
        found = len(wanted) - len(missing)
        run.count(rows=len(wanted), rows_found=found, rows_made=len(missing))
        if len(missing):
            job = {**job, "found": max(held, found)}  # rows that the pool has, of all shares
            WorkerGroup(run, workers, job, found, lambda out: commit_parts(run, pool, out), left).work(missing)


def pool_of(run: Run) -> str:
    pool = run.step.pool
    assert pool is not None  # only stages with rows call this
    return pool


def drop_held(rows: pd.DataFrame, held: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    marked = rows.merge(held[key], on=key, how="left", indicator=True)
    return marked.query("_merge == 'left_only'").drop(columns="_merge")


def commit_parts(run: Run, pool: str, out: Path) -> None:
    """Moves every finished part from a program's folder to the pool. Raises BudgetReached after a part if the budget is
    spent."""
    parts = sorted(out.glob("part-*.parquet"))
    for part in parts:
        charge_tokens(run, part)
        run.store.append(pool, part, pq.read_metadata(part).num_rows)
        part.unlink()
    if parts:
        BUDGET.check()


def charge_tokens(run: Run, part: Path) -> None:
    """Charges the tokens of an endpoint to the budget, at the prices of the step's engine."""
    prices = {
        "prompt_tokens": getattr(run.step.how, "price_in", 0.0),
        "tokens": getattr(run.step.how, "price_out", 0.0),
    }
    if any(prices.values()):
        columns = [name for name in prices if name in pq.read_schema(part).names]
        for name, column in pq.read_table(part, columns=columns).to_pydict().items():
            BUDGET.spend(sum(value or 0 for value in column) * prices[name] / 1e6)


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


def read_sorted(run: Run, wanted: pd.DataFrame, key: list[str], schema: pa.Schema, module: str) -> Iterator[pa.Table]:
    """Yields the rows of `wanted` from the pool, sorted by `key`, in buckets of limited size to save memory.

    The first column of the key is a hexadecimal hash; its first digits choose the bucket.
    """
    count = 1 + len(wanted) // BUCKET
    place = lambda ids: ids.str[:6].map(lambda digits: int(digits, 16)) * count // 2**24
    buckets, folder = dict(list(wanted[key].groupby(place(wanted[key[0]])))), run.scratch / "buckets"
    folder.mkdir(parents=True, exist_ok=True)
    writers = {number: pa.ipc.new_file(folder / f"{number}.arrow", schema) for number in buckets}
    cast = (batch.cast(schema) for _, batch in read_batches(run, pool_of(run), schema.names))
    for rows in join_small_batches(cast):
        numbers = place(rows[key[0]].to_pandas())
        for number, places in numbers.groupby(numbers).groups.items():
            if number in writers:
                writers[number].write_table(rows.take(pa.array(places)))
    for number in sorted(writers):
        writers[number].close()
        with pa.OSFile(str(folder / f"{number}.arrow")) as file:
            held = pa.ipc.open_file(file).read_all().to_pandas().drop_duplicates(key)
        (folder / f"{number}.arrow").unlink()
        complete = buckets[number].merge(held, on=key, how="left", validate="one_to_one", indicator=True)
        refuse_lost(run, complete, module)
        yield pa.Table.from_pandas(complete.sort_values(key), schema, preserve_index=False)


def refuse_lost(run: Run, complete: pd.DataFrame, module: str) -> None:
    if lost := int((complete["_merge"] == "left_only").sum()):
        raise RuntimeError(
            f"{module} ended without an error, but {lost} of {len(complete)} rows are not in pool {run.step.pool}"
        )


def write_table(run: Run, rows: pd.DataFrame, schema: pa.Schema, name: str) -> None:
    """Writes a table as one file of the artifact."""
    pq.write_table(pa.Table.from_pandas(rows, schema, preserve_index=False), run.folder / name, compression="zstd")
