"""A program for the pool's tests: squares of numbers, in parts of two; its job may make it die or leave a row out."""

import os
import signal
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.program import Progress, run
from tasks.rows.parts import write_in_parts

SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("square", pa.int64()),
        ("place", pa.int64()),  # where the number stood among those the program was asked for
        ("maker", pa.string()),  # another one in each run of the program
        ("tokens", pa.int64()),
    ]
)


def squares(job: dict, out: Path, progress: Progress) -> dict:
    asked = pq.read_table(job["rows"]).to_pylist()
    rows, maker, made = [{**row, "place": place} for place, row in enumerate(asked)], uuid4().hex, 0

    def work(batch: list[dict]) -> list[dict]:
        nonlocal made
        if made == job["dies_after"]:
            os.kill(os.getpid(), signal.SIGKILL)
        made += 1
        return [
            {"number": row["number"], "square": row["number"] ** 2, "place": row["place"], "maker": maker, "tokens": 1}
            for row in batch
            if row["number"] != job["leaves_out"]
        ]

    return {"tokens_made": write_in_parts(rows, {"batch_size": 2, "batches_per_part": 1}, SCHEMA, out, progress, work)}


if __name__ == "__main__":
    run(squares)
