"""Which prompts a model is asked, how often, and how long they are. Texts are measured and let go."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.errors import BadInput
from tasks.responses.settings import Sampling

BATCH = 8192


def asked_prompts(prompts: Path, splits: Path | None, what: Sampling) -> pd.DataFrame:
    """prompt_id, length and n of every prompt that is asked at all."""
    batches = pq.ParquetFile(prompts).iter_batches(BATCH, columns=["prompt_id", "messages", "category"])
    rows = pd.concat([measured(batch) for batch in batches], ignore_index=True)
    if unknown := set(what.by_category) - set(rows["category"]):
        known = ", ".join(sorted(map(repr, rows["category"].dropna().unique())))
        raise BadInput(f"sampling.by_category: no prompt is of {min(unknown)!r}; there are {known}")
    if what.parts:
        parts = pd.read_parquet(splits)
        rows = rows[rows["prompt_id"].isin(parts.loc[parts["part"].isin(what.parts), "prompt_id"])]
    if rows.empty:
        raise BadInput(f"sampling.parts: no prompt is in {', '.join(what.parts)}")
    rows["n"] = rows["category"].map(lambda name: what.by_category.get(name, what.n)).astype("int64")
    rows = rows[rows["n"] > 0].reset_index(drop=True)
    if rows.empty:
        raise BadInput(f"sampling.by_category: leaves no prompt: {what.by_category}")
    return rows


def measured(batch: pa.RecordBatch) -> pd.DataFrame:
    messages = batch["messages"]
    lengths = pc.utf8_length(pc.struct_field(messages.flatten(), "content")).to_numpy(zero_copy_only=False)
    length = np.bincount(pc.list_parent_indices(messages).to_numpy(), weights=lengths, minlength=len(batch))
    return batch.select(["prompt_id", "category"]).to_pandas().assign(length=length.astype("int64"))
