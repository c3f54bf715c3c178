"""Scored responses as columns of numbers, and what stands in a few of them: text is read at the end, for winners only."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.errors import BadInput

BATCH = 8192  # rows of text in memory at once, beside those that are wanted
NONE = pd.DataFrame(
    {
        **{name: pd.Series(dtype="int32") for name in ("prompt", "source", "sample", "row", "tokens")},
        **{name: pd.Series(dtype="float64") for name in ("score", "check")},
    }
)


def read(responses: Path, scores: Path, checks: Path | None, prompts: pa.Array, source: int) -> pd.DataFrame:
    """One model's responses to these prompts: the prompt's place in `prompts`, the row in the file, score and check;
    NaN where a response has none."""
    rows = pq.read_table(responses, columns=["prompt_id", "sample_index", "content_id", "tokens"])
    prompt = pc.index_in(rows["prompt_id"].combine_chunks(), value_set=prompts)
    asked = np.flatnonzero(prompt.is_valid().to_numpy(zero_copy_only=False))
    rows, prompt = rows.take(asked), prompt.take(asked)
    content = rows["content_id"].combine_chunks()
    table = {
        "prompt": prompt.to_numpy().astype("int32"),
        "source": np.full(len(rows), source, "int16"),
        "sample": rows["sample_index"].to_numpy(),
        "row": asked.astype("int32"),
        "tokens": rows["tokens"].to_numpy(),
        "score": looked_up(content, scores),
    }
    if checks is not None:
        table["check"] = looked_up(content, checks)
        refuse_unclear(table["check"], content, checks)
    return pd.DataFrame(table, copy=False)


def looked_up(content: pa.Array, file: Path) -> np.ndarray:
    """The score of each content id in a file of scores; NaN where there is none."""
    table = pq.read_table(file, columns=["content_id", "score"])
    if pc.count_distinct(table["content_id"]).as_py() != len(table):
        raise RuntimeError(f"{file}: a content id stands there twice")
    place = pc.index_in(content, value_set=table["content_id"].combine_chunks())
    return pc.take(table["score"], place).to_numpy().astype("float64")


def refuse_unclear(checks: np.ndarray, content: pa.Array, file: Path) -> None:
    unclear = np.flatnonzero(~np.isnan(checks) & (checks != 0) & (checks != 1))
    if len(unclear):
        raise BadInput(
            f"{file}: a check is 1 (correct) or 0 (incorrect), and content {content[unclear[0]]} has {checks[unclear[0]]}"
        )


def fetch(files: Sequence[Path], column: str, source: np.ndarray, row: np.ndarray) -> pa.ChunkedArray:
    """`column` of row `row` in file number `source`, for each of them; null where the source is -1.

    Every file is read once, in batches, however many rows are wanted of it.
    """
    found, place, taken = [pa.array([], pa.large_string())], np.full(len(row), -1), 0
    for number, file in enumerate(files):
        here = np.flatnonzero(source == number)
        if len(here):
            ordered = here[np.argsort(row[here], kind="stable")]
            found += picked(file, column, row[ordered])
            place[ordered] = np.arange(taken, taken + len(ordered))
            taken += len(ordered)
    return pa.chunked_array(found).take(pa.array(place, mask=place < 0))


def picked(file: Path, column: str, rows: np.ndarray) -> Iterable[pa.Array]:
    """The column at these ascending rows, batch by batch."""
    start = 0
    for batch in pq.ParquetFile(file, memory_map=True).iter_batches(BATCH, columns=[column]):
        low, high = np.searchsorted(rows, [start, start + len(batch)])
        if high > low:
            yield batch.column(0).take(pa.array(rows[low:high] - start)).cast(pa.large_string())
        start += len(batch)


def write(table: pa.Table, schema: pa.Schema, file: Path) -> None:
    """Row group by row group, so that no column of text has to fit into one array; a missing column is null."""
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(table), BATCH):
            rows = table.slice(start, BATCH)
            empty = pa.nulls(len(rows))
            columns = [rows[name] if name in rows.column_names else empty for name in schema.names]
            writer.write_table(pa.table(columns, names=schema.names).cast(schema))
