"""A program for the tests of resampling: a text and a number of each id, in parts of a thousand."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.program import Progress, run_program
from tasks.rows.parts import write_in_parts

SCHEMA = pa.schema([("prompt_id", pa.string()), ("text", pa.string()), ("score", pa.float64()), ("tokens", pa.int64())])


def answer(prompt: str) -> dict:
    text = hashlib.sha256(prompt.encode()).hexdigest()
    return {"prompt_id": prompt, "text": text, "score": int(text[:6], 16) / 1e6, "tokens": 1}


def work(job: dict, out: Path, progress: Progress) -> dict:
    rows = pq.read_table(job["rows"]).to_pylist()
    make = lambda batch: [answer(row["prompt_id"]) for row in batch]
    return {
        "tokens_made": write_in_parts(rows, {"batch_size": 1000, "batches_per_part": 1}, SCHEMA, out, progress, make)
    }


if __name__ == "__main__":
    run_program(work)
