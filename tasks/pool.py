"""Rows as the grain of sampling and scoring: what a pool holds is never made again, what is missing is made in parts.

A program writes `part-*.parquet` files into its folder as it goes; each is committed to the pool as soon as it is
complete, so that a kill loses only the part in flight.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput
from infra.lease import lease
from infra.manifest import FileEntry
from infra.settings import settings
from tasks.crew import Crew, Shift
from tasks.execution import Run

BATCH = 8192
BUCKET = 20_000  # rows that are in memory at once when a pool's extract is written


def fill(
    run: Run, wanted: pd.DataFrame, key: list[str], schema: pa.Schema, module: str, job: dict, group: int = 0
) -> pd.DataFrame:
    """The rows of `wanted` (unique by `key`), in its order: those in the pool as they are, the others made by `module`.

    The program gets the missing rows, in the order of `wanted`, as the file job["rows"].
    """
    make_missing(run, wanted, key, Crew(module, group=group), job)
    held = read(run, run.step.pool, key)
    complete = wanted[key].merge(held, on=key, how="left", validate="one_to_one", indicator=True)
    refuse_lost(run, complete, module)
    return complete[schema.names]


def make_missing(run: Run, wanted: pd.DataFrame, key: list[str], crew: Crew, job: dict, alone: bool = False) -> None:
    """Afterwards the pool holds every row of `wanted`, if the crew did what it should. `alone`: while another step fills
    the pool we wait, and make what it leaves."""
    left = lambda rows: without(rows, read(run, run.step.pool, key, key), key)
    missing = left(wanted)
    with turn(run) if alone and len(missing) else nullcontext():
        missing = left(missing) if alone else missing
        found = len(wanted) - len(missing)
        run.count(rows=len(wanted), rows_found=found, rows_made=len(missing))
        if len(missing):
            job = {**job, "found": found}  # rows that the pool has
            Shift(run, crew, job, found, lambda out: commit(run, run.step.pool, out), left).work(missing)


def turn(run: Run) -> AbstractContextManager:
    """Two steps of other n or other prompts have rows in common: at once both would make them."""
    waiting = lambda message: run.observe(run.step, message, 0, 0, "")
    return lease(run.store.blobs, f"pools/{run.step.pool}", ttl=settings().lease_seconds, on_wait=waiting)


def without(rows: pd.DataFrame, held: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    marked = rows.merge(held[key], on=key, how="left", indicator=True)
    return marked.query("_merge == 'left_only'").drop(columns="_merge")


def commit(run: Run, pool: str, out: Path) -> None:
    """Moves every finished part from a program's folder to the pool."""
    for part in sorted(out.glob("part-*.parquet")):
        run.store.append(pool, part, pq.read_metadata(part).num_rows)
        part.unlink()


def read(run: Run, pool: str, key: list[str], columns: list[str] | None = None) -> pd.DataFrame:
    """All rows of the pool, one per key: where two runs made the same row, the part first by name has it."""
    entries = run.store.parts(pool)
    parts = [part(run, entry, columns).read(columns) for entry in entries]
    if not parts:
        return pd.DataFrame(columns=key)
    for entry, table in zip(entries, parts, strict=True):
        if table.schema != parts[0].schema:
            raise BadInput(
                f"{run.store.blobs.url}/{entry.path}: not rows of this pool, as {entries[0].name} is; delete it"
            )
    return pa.concat_tables(parts).to_pandas().drop_duplicates(key)


def part(run: Run, entry: FileEntry, columns: list[str] | None) -> pq.ParquetFile:
    """Bytes that fit their name need not be what a program of ours wrote: somebody may have put them there."""
    where = f"{run.store.blobs.url}/{entry.path}"
    file = run.store.fetch_part(entry)
    try:
        found = pq.ParquetFile(file)
    except pa.ArrowException as problem:
        raise BadInput(f"{where}: not a Parquet file ({problem}); delete it") from problem
    if lacking := set(columns or ()) - set(found.schema_arrow.names):
        raise BadInput(f"{where}: not rows of this pool, without {', '.join(sorted(lacking))}; delete it")
    if found.metadata.num_rows != entry.rows:
        raise BadInput(f"{where}: {found.metadata.num_rows} rows where its name says {entry.rows}; delete it")
    return found


def in_order(run: Run, wanted: pd.DataFrame, key: list[str], schema: pa.Schema, module: str) -> Iterator[pa.Table]:
    """The rows of `wanted` out of the pool, sorted by `key`, a bucket at a time: few are in memory, however many there are.

    The first part of the key is a hash in hexadecimal, by whose first digits rows are dealt out.
    """
    count = 1 + len(wanted) // BUCKET
    place = lambda ids: ids.str[:6].map(lambda digits: int(digits, 16)) * count // 2**24
    asked, folder = dict(list(wanted[key].groupby(place(wanted[key[0]])))), run.scratch / "buckets"
    folder.mkdir(parents=True, exist_ok=True)
    writers = {number: pa.ipc.new_file(folder / f"{number}.arrow", schema) for number in asked}
    for entry in run.store.parts(run.step.pool):
        for batch in part(run, entry, schema.names).iter_batches(BATCH, columns=schema.names):
            rows = pa.Table.from_batches([batch]).cast(schema)
            numbers = place(rows[key[0]].to_pandas())
            for number, places in numbers.groupby(numbers).groups.items():
                if number in writers:
                    writers[number].write_table(rows.take(pa.array(places)))
    for number in sorted(writers):
        writers[number].close()
        with pa.OSFile(str(folder / f"{number}.arrow")) as file:
            held = pa.ipc.open_file(file).read_all().to_pandas().drop_duplicates(key)
        (folder / f"{number}.arrow").unlink()
        complete = asked[number].merge(held, on=key, how="left", validate="one_to_one", indicator=True)
        refuse_lost(run, complete, module)
        yield pa.Table.from_pandas(complete.sort_values(key), schema, preserve_index=False)


def refuse_lost(run: Run, complete: pd.DataFrame, module: str) -> None:
    if lost := int((complete["_merge"] == "left_only").sum()):
        raise RuntimeError(f"{module} ended well but {lost} of {len(complete)} rows are not in pool {run.step.pool}")


def write(run: Run, rows: pd.DataFrame, schema: pa.Schema, name: str) -> None:
    """A table as one file of the artifact."""
    pq.write_table(pa.Table.from_pandas(rows, schema, preserve_index=False), run.folder / name, compression="zstd")
