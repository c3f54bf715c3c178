"""The reference of a few records, as the chain makes it before a training."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.program import Progress
from tasks.records import LOG_PROB, PREFERENCE_RECORD
from tasks.wrpo.reference import main
from tasks.wrpo.stage import distinct_responses

HOW = {"device_batch_size": 2, "gradient_checkpointing": False, "layout": "shared-prompt"}


def stored(model: Path, records: list[dict], folder: Path, max_length=64, precision="fp32", base="full", **how) -> Path:
    """The file that the stage would leave, made by its program in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = [dict.fromkeys(PREFERENCE_RECORD.names) | record for record in records]
    distinct_responses(pd.DataFrame(whole)).to_parquet(folder / "responses.parquet", index=False)
    what = {"max_length": max_length, "precision": precision, "base": base}
    job = {"model": str(model), "rows": str(folder / "responses.parquet"), "what": what, "how": HOW | how, "threads": 1}
    main(job, folder, Progress(folder))
    made = pa.concat_tables([pq.read_table(part, schema=LOG_PROB) for part in sorted(folder.glob("part-*"))])
    pq.write_table(made, folder / "reference.parquet")
    return folder / "reference.parquet"


def log_probs(file: Path) -> dict[str, tuple[float, int]]:
    """content id -> (log pi, tokens)"""
    return {row["content_id"]: (row["log_prob"], row["tokens"]) for row in pq.read_table(file).to_pylist()}
