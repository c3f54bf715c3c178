"""Scored responses as columns of numbers, and what stands in a few of them: text is read at the end, for winners only."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.errors import BadInput
from infra.settings import cores

BATCH = 8192  # rows of text in memory at once, beside those that are wanted
NONE = pd.DataFrame(
    {
        **{name: pd.Series(dtype="int32") for name in ("prompt", "source", "sample", "row", "tokens")},
        **{name: pd.Series(dtype="float64") for name in ("score", "check")},
    }
)


def read(responses: Path, scores: Path, checks: Path | None, source: int, prompts: pa.Array) -> pd.DataFrame:
    """One model's responses to these prompts: the prompt's place in `prompts`, the row in the file, score and check;
    NaN where a response has none."""
    columns = ["prompt_id", "sample_index", "content_id", "tokens"]
    rows = pq.read_table(responses, columns=columns, read_dictionary=["prompt_id"])
    prompt = places(rows["prompt_id"], prompts)
    asked = np.flatnonzero(prompt >= 0)
    if len(asked) < len(rows):
        rows, prompt = rows.take(asked), prompt[asked]
    content = rows["content_id"].combine_chunks()
    table = {
        "prompt": prompt.astype("int32"),
        "source": np.full(len(rows), source, "int16"),
        "sample": rows["sample_index"].to_numpy(),
        "row": asked.astype("int32"),
        "tokens": rows["tokens"].to_numpy(),
        "score": looked_up(content, scores),
    }
    table["check"] = looked_up(content, checks) if checks else np.full(len(rows), np.nan)
    refuse_unclear(table["check"], content, checks)
    return pd.DataFrame(table, copy=False)


def places(ids: pa.ChunkedArray, prompts: pa.Array) -> np.ndarray:
    """The place of each id in `prompts`, -1 where it is not there. A dictionary, so that every id is looked up once."""
    found = ids.unify_dictionaries().combine_chunks()
    if not len(found):
        return np.array([], "int32")
    known = pc.index_in(found.dictionary, value_set=prompts).fill_null(-1).to_numpy()
    return known[found.indices.to_numpy()]


def looked_up(content: pa.Array, file: Path) -> np.ndarray:
    """The score of each content id in a file of scores; NaN where there is none."""
    table = pq.read_table(file, columns=["content_id", "score"])
    known = table["content_id"].combine_chunks()
    ascending = pc.all(pc.less(known[:-1], known[1:])).as_py()  # as the stages leave them, and told in no time
    if not ascending and pc.count_distinct(known).as_py() != len(known):
        raise RuntimeError(f"{file}: a content id stands there twice")
    place = pc.index_in(content, value_set=known)
    return pc.take(table["score"], place).to_numpy().astype("float64")


def refuse_unclear(checks: np.ndarray, content: pa.Array, file: Path | None) -> None:
    unclear = np.flatnonzero(~np.isnan(checks) & (checks != 0) & (checks != 1))
    if len(unclear):
        raise BadInput(
            f"{file}: a check is 1 (correct) or 0 (incorrect), and content {content[unclear[0]]} has {checks[unclear[0]]}"
        )


def fetch(files: Sequence[Path], column: str, source: np.ndarray, row: np.ndarray) -> pa.ChunkedArray:
    """`column` of row `row` in file number `source`, for each of them; null where the source is -1.

    Every file is read once, in batches, however many rows are wanted of it.
    """
    order = np.lexsort((row, source))
    order = order[source[order] >= 0]
    wanted = [row[order[source[order] == number]] for number in range(len(files))]
    with ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(picked, files, [column] * len(files), wanted))
    place = np.full(len(row), -1)
    place[order] = np.arange(len(order))
    chunks = [chunk for chunks in found for chunk in chunks]
    return pa.chunked_array(chunks, pa.large_string()).take(pa.array(place, mask=place < 0))


def picked(file: Path, column: str, rows: np.ndarray) -> list[pa.Array]:
    """The column at these ascending rows."""
    if not len(rows):
        return []
    found, start = [], 0
    for batch in pq.ParquetFile(file, memory_map=True).iter_batches(BATCH, columns=[column]):
        low, high = np.searchsorted(rows, [start, start + len(batch)])
        if high > low:
            found.append(batch.column(0).take(pa.array(rows[low:high] - start)).cast(pa.large_string()))
        start += len(batch)
    return found


def write(table: pa.Table, schema: pa.Schema, file: Path) -> None:
    """Row group by row group, so that no column of text has to fit into one array; a missing column is null."""
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(table), BATCH):
            rows = table.slice(start, BATCH)
            empty = pa.nulls(len(rows))
            columns = [rows[name] if name in rows.column_names else empty for name in schema.names]
            writer.write_table(pa.table(columns, names=schema.names).cast(schema))
