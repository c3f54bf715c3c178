"""Pools of rows for sampling and scoring: rows in a pool are never made again, missing rows are made in parts.

A program writes `part-*.parquet` files into its folder while it runs. Each part is added to the pool as soon as it is
complete, so a kill loses only the unfinished part.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.execution import Run
from tasks.rows.filling import Filling, Wanted
from tasks.rows.reading import join_small_batches, read_batches, read_pool
from tasks.rows.turns import take_turn
from tasks.rows.workers import WorkerGroup, Workers

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
    """Makes the missing rows of `wanted` in the run's share and adds them to the pool."""
    make_lacking(run, Filling(run, [Wanted(pool_of(run), wanted)], key), workers, job, exclusive)


def make_lacking(run: Run, filling: Filling, workers: Workers, job: dict, exclusive: bool = False) -> None:
    """Makes the rows that the pools lack. `exclusive`: waits while another step fills a pool, then makes the rows that are still
    missing. Steps with another n or other prompts share rows with this step, and both would make them if they ran at the
    same time."""
    waiting = lambda message: run.observe(run.step, message, 0, 0, "")
    with ExitStack() as turns:
        for pool in filling.lacking if exclusive else ():
            filling.begin(
                pool, turns.enter_context(take_turn(run.store.blobs, pool, run.share, waiting, run.launcher.pause))
            )
        own, made = len(filling.wanted[0].rows), len(filling.missing[0])
        run.count(rows=own, rows_found=own - made, rows_made=made)
        if len(missing := filling.all_missing()):
            if len(missing) > made:
                run.count(rows_made_beside=len(missing) - made)
            job = {**job, "found": max(filling.held, own - made)}  # rows that the pool has, of all shares
            WorkerGroup(run, workers, job, own - made, filling).work(missing)


def pool_of(run: Run) -> str:
    pool = run.step.pool
    assert pool is not None  # only stages with rows call this
    return pool


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
