"""Scored responses as columns of numbers. Text is read only at the end, for the chosen responses."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from infra.errors import BadInput
from infra.settings import count_cores
from tasks.records import CUT_OFF

pc: Any = pyarrow.compute  # it makes its functions at import, where no type checker sees them
BATCH = 8192  # rows of text in memory at once, besides the chosen ones
MIXERS = np.array(
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F], "uint64"
)  # odd numbers; the constants of splitmix64 and wyhash
NONE = pd.DataFrame(
    {
        **{name: pd.Series(dtype="int32") for name in ("prompt", "source", "sample", "row", "tokens")},
        **{name: pd.Series(dtype="float64") for name in ("score", "check")},
        "cut_off": pd.Series(dtype=bool),
        "content": pd.Series(dtype="uint64"),
    }
)


def read_candidates(responses: Path, scores: Path, checks: Path | None, source: int, prompts: pa.Array) -> pd.DataFrame:
    """One model's responses to these prompts: the prompt's index in `prompts`, the row in the file, whether it was cut off,
    score and check (NaN if missing)."""
    columns = ["prompt_id", "sample_index", "content_id", "tokens", "finish_reason"]
    rows = pq.read_table(responses, columns=columns, read_dictionary=["prompt_id"])
    prompt = find_places(rows["prompt_id"], prompts)
    wanted = np.flatnonzero(prompt >= 0)
    if len(wanted) < len(rows):
        rows, prompt = rows.take(wanted), prompt[wanted]
    content = rows["content_id"].combine_chunks()
    table = {
        "prompt": prompt.astype("int32"),
        "source": np.full(len(rows), source, "int16"),
        "sample": rows["sample_index"].to_numpy(),
        "row": wanted.astype("int32"),
        "tokens": rows["tokens"].to_numpy(),
        "cut_off": pc.equal(rows["finish_reason"], CUT_OFF).fill_null(False).to_numpy(),
        "score": looked_up(content, scores),
        "content": content_keys(content_words(content)),
    }
    table["check"] = looked_up(content, checks) if checks else np.full(len(rows), np.nan)
    refuse_unclear(table["check"], content, checks)
    return pd.DataFrame(table, copy=False)


def find_places(ids: pa.ChunkedArray, prompts: pa.Array) -> np.ndarray:
    """The index of each id in `prompts`, -1 if it is not there. Dictionary encoding, so that each id is looked up once."""
    found = ids.unify_dictionaries().combine_chunks()
    if not len(found):
        return np.array([], "int32")
    known = pc.index_in(found.dictionary, value_set=prompts).fill_null(-1).to_numpy()
    return known[found.indices.to_numpy()]


def looked_up(content: pa.Array, file: Path) -> np.ndarray:
    """The score of each content id in a file of scores; NaN if it has none."""
    table = pq.read_table(file, columns=["content_id", "score"])
    wanted, known = content_words(content), content_words(table["content_id"].combine_chunks())
    index = pd.Index(content_keys(known))
    if not index.is_unique:
        raise RuntimeError(f"{file}: a content id occurs twice, or two content ids have the same key")
    place = index.get_indexer(content_keys(wanted))  # pyright: ignore[reportArgumentType]
    found = np.flatnonzero(place >= 0)
    if (known[place[found]] != wanted[found]).any():
        raise RuntimeError(f"{file}: two different content ids have the same key")
    scores = np.full(len(wanted), np.nan)
    scores[found] = table["score"].to_numpy()[place[found]]
    return scores


def content_words(content: pa.Array) -> np.ndarray:
    """The 40 digits of each content id as five numbers."""
    raw = content.cast(pa.binary(40))
    return np.frombuffer(raw.buffers()[1] or b"", "uint64")[raw.offset * 5 :][: len(raw) * 5].reshape(-1, 5)


def content_keys(words: np.ndarray) -> np.ndarray:
    """One number for each content id, because numbers are looked up ten times faster than texts."""
    return (words * MIXERS).sum(axis=1, dtype="uint64")


def with_one_score(rows: pd.DataFrame) -> pd.DataFrame:
    """Gives equal texts one score, that of the first source. Scores of two batches may differ in the last bits, and ties
    must not depend on these."""
    code, content = pd.factorize(rows["content"])
    score, prompt = rows["score"].to_numpy(), rows["prompt"].to_numpy()
    last_first = np.flatnonzero(~np.isnan(score))[::-1]
    first, owner = np.full(len(content), np.nan), np.zeros(len(content), "int32")
    first[code[last_first]] = score[last_first]  # for equal indices, numpy keeps the last value
    owner[code] = prompt
    if (owner[code] != prompt).any():
        raise RuntimeError("two different content ids have the same key")
    return rows.assign(score=first[code])


def refuse_unclear(checks: np.ndarray, content: pa.Array, file: Path | None) -> None:
    unclear = np.flatnonzero(~np.isnan(checks) & (checks != 0) & (checks != 1))
    if len(unclear):
        raise BadInput(
            f"{file}: a check must be 1 (correct) or 0 (incorrect), but that of content {content[unclear[0]]} is"
            f" {checks[unclear[0]]}"
        )


def fetch_column(files: Sequence[Path], column: str, source: np.ndarray, row: np.ndarray) -> pa.ChunkedArray:
    """For each pair of `source` and `row`: the value of `column` in that row of file number `source`; null if it is -1.

    Every file is read once, in batches.
    """
    order = np.lexsort((row, source))
    order = order[source[order] >= 0]
    wanted = [row[order[source[order] == number]] for number in range(len(files))]
    with ThreadPoolExecutor(count_cores()) as pool:
        found = list(pool.map(pick_rows, files, [column] * len(files), wanted))
    place = np.full(len(row), -1)
    place[order] = np.arange(len(order))
    chunks = [chunk for chunks in found for chunk in chunks]
    return pa.chunked_array(chunks, pa.large_string()).take(pa.array(place, mask=place < 0))


def pick_rows(file: Path, column: str, rows: np.ndarray) -> list[pa.Array]:
    """The column's values at these rows, which must ascend."""
    if not len(rows):
        return []
    found, start = [], 0
    for batch in pq.ParquetFile(file, memory_map=True).iter_batches(BATCH, columns=[column]):
        low, high = np.searchsorted(rows, [start, start + len(batch)])
        if high > low:
            found.append(batch.column(0).take(pa.array(rows[low:high] - start)).cast(pa.large_string()))
        start += len(batch)
    return found


def write_rows(table: pa.Table, schema: pa.Schema, file: Path) -> None:
    """Writes row group by row group, because a whole column of text may not fit into one array; a missing column is null."""
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(table), BATCH):
            rows = table.slice(start, BATCH)
            empty = pa.nulls(len(rows))
            columns = [rows[name] if name in rows.column_names else empty for name in schema.names]
            writer.write_table(pa.table(columns, names=schema.names).cast(schema))
