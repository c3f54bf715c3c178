"""How the tests score: the program itself, in this process, on rows in a file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.records import SCORE
from tasks.scores.transformers_program import score


def scored(
    model,
    out: Path,
    rows: list[dict],
    batch_size: int = 64,
    layout: str = "shared-prompt",
    batch_tokens: int = 65_536,
    **what,
) -> tuple[dict, dict]:
    """By content id what the program leaves, and what it says of itself."""
    out.mkdir()
    file = out / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    job = {
        "model": str(model),
        "rows": str(file),
        "what": {"kind": "sequence-classifier", "max_length": 4096, "too_long": "flag", **what},
        "how": {
            "batch_size": batch_size,
            "batch_tokens": batch_tokens,
            "batches_per_part": 1,
            "layout": layout,
        },
        "threads": 1,
    }
    summary = score(job, out, lambda done, total: None)
    found = [row for part in sorted(out.glob("part-*")) for row in pq.read_table(part, schema=SCORE).to_pylist()]
    assert [row["content_id"] for row in found] == [row["content_id"] for row in rows]
    return {row["content_id"]: row for row in found}, summary
