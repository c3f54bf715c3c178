"""Rows as the grain of sampling and scoring: what a pool holds is never made again, what is missing is made in parts.

A program writes `part-*.parquet` files into its folder as it goes; each is committed to the pool as soon as it is
complete, so that a kill loses only the part in flight.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.execution import Run


def fill(
    run: Run, wanted: pd.DataFrame, key: list[str], schema: pa.Schema, module: str, job: dict, group: int = 0
) -> pd.DataFrame:
    """The rows of `wanted` (unique by `key`), in its order: those in the pool as they are, the others made by `module`.

    The program gets the missing rows, in the order of `wanted`, as the file job["rows"].
    """
    pool = run.step.pool
    held = read(run, pool, key)
    missing = (
        wanted.merge(held[key], on=key, how="left", indicator=True)
        .query("_merge == 'left_only'")
        .drop(columns="_merge")
    )
    run.count(rows=len(wanted), rows_found=len(wanted) - len(missing), rows_made=len(missing))
    if len(missing):
        rows = run.scratch / "missing.parquet"
        missing.to_parquet(rows, index=False)
        out = run.scratch / "program"
        before = len(wanted) - len(missing)
        run.program(module, {**job, "rows": str(rows)}, lambda: commit(run, pool, out), before, group)
        held = read(run, pool, key)
    complete = wanted[key].merge(held, on=key, how="left", validate="one_to_one", indicator=True)
    lost = int((complete["_merge"] == "left_only").sum())
    if lost:
        raise RuntimeError(f"{module} ended well but {lost} of {len(wanted)} rows are not in pool {pool}")
    return complete[schema.names]


def commit(run: Run, pool: str, out: Path) -> None:
    """Moves every finished part from the program's folder to the pool."""
    for part in sorted(out.glob("part-*.parquet")):
        run.store.append(pool, part, pq.read_metadata(part).num_rows)
        part.unlink()


def read(run: Run, pool: str, key: list[str]) -> pd.DataFrame:
    """All rows of the pool, one per key: where two runs made the same row, the part first by name has it."""
    parts = [pq.read_table(run.store.fetch_part(entry)) for entry in run.store.parts(pool)]
    if not parts:
        return pd.DataFrame(columns=key)
    return pa.concat_tables(parts).to_pandas().drop_duplicates(key)


def write(run: Run, rows: pd.DataFrame, schema: pa.Schema, name: str) -> None:
    """A table as one file of the artifact."""
    pq.write_table(pa.Table.from_pandas(rows, schema, preserve_index=False), run.folder / name, compression="zstd")
