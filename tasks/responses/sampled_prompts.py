"""Selects the prompts to sample, with their length and number of responses. Texts are not kept in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.errors import BadInput
from tasks.responses.settings import Sampling

BATCH = 8192


def select_prompts(prompts: Path, splits: Path | None, what: Sampling) -> pd.DataFrame:
    """Returns prompt_id, category, length (in characters) and n of every selected prompt."""
    batches = pq.ParquetFile(prompts).iter_batches(BATCH, columns=["prompt_id", "messages", "category"])
    rows = pd.concat([measure_lengths(batch) for batch in batches], ignore_index=True)
    if unknown := set(what.by_category) - set(rows["category"]):
        known = ", ".join(sorted(map(repr, rows["category"].dropna().unique())))
        raise BadInput(f"sampling.by_category: no prompt has the category {min(unknown)!r}; the categories are {known}")
    if what.parts:
        assert splits is not None
        parts = pd.read_parquet(splits)
        rows = rows[rows["prompt_id"].isin(parts.loc[parts["part"].isin(what.parts), "prompt_id"])]
    if rows.empty:
        raise BadInput(f"sampling.parts: no prompt is in the part {', '.join(what.parts)} of the split")
    numbers = cast("Mapping[Any, int]", what.by_category)  # Any: the category of a prompt may be null
    rows["n"] = rows["category"].map(lambda name: numbers.get(name, what.n)).astype("int64")
    rows = rows[rows["n"] > 0].reset_index(drop=True)
    if rows.empty:
        raise BadInput(f"sampling.by_category: {what.by_category} excludes every prompt; set a number above 0")
    return rows


def measure_lengths(batch: pa.RecordBatch) -> pd.DataFrame:
    messages = batch["messages"]
    contents = pc.struct_field(messages.flatten(), "content")  # pyright: ignore[reportAttributeAccessIssue]
    lengths = pc.utf8_length(contents).to_numpy(zero_copy_only=False)  # pyright: ignore[reportAttributeAccessIssue]
    owners = pc.list_parent_indices(messages)  # pyright: ignore[reportAttributeAccessIssue]
    length = np.bincount(owners.to_numpy(), weights=lengths, minlength=len(batch))
    return batch.select(["prompt_id", "category"]).to_pandas().assign(length=length.astype("int64"))
