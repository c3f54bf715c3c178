"""Reads the responses that a data set already contains, as rows in the format of sampled ones."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput
from tasks.records import RESPONSE, content_id

ENGINE = "existing"


def read_existing(prompts: Path, chosen: pd.DataFrame, seed: int) -> Iterator[pa.Table]:
    """Yields one row for each chosen prompt that has a response. Token counts are null: the writer's tokenizer is unknown."""
    table = pq.read_table(prompts, columns=["prompt_id", "response"])
    held = table.to_pandas().dropna(subset="response")
    rows = held[held["prompt_id"].isin(chosen["prompt_id"])].sort_values("prompt_id")
    if rows.empty:
        raise BadInput(
            f"sources: none of the {len(chosen)} prompts has a response; name its column in prompts.columns.response"
        )
    yield pa.Table.from_pylist(
        [
            {
                "prompt_id": row.prompt_id,
                "sample_index": 0,
                "text": row.response,
                "content_id": content_id(row.prompt_id, row.response),
                "finish_reason": "stop",
                "seed": seed,
                "engine": ENGINE,
            }
            for row in rows.itertuples()
        ],
        RESPONSE,
    )
