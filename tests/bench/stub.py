"""Stands for every engine in the load's measurement: rows of the right shape at the speed of a disk, in parts of 5,000.

`python -m tests.bench.stub JOB OUT tethered`; the job's `module` says for which program it stands.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from tasks.program import Progress, run, write_json
from tasks.records import RESPONSE, SCORE, content_id
from tasks.rows.parts import write_part

PART = 5_000
PROSE = " ".join(hashlib.sha256(str(number).encode()).hexdigest()[: 2 + number % 9] for number in range(400_000))


def stub(job: dict, out: Path, progress: Progress) -> dict:
    return {"pretrain": model, "generate": responses, "score": scores}[job["module"].rpartition(".")[2]](
        job, out, progress
    )


def model(job: dict, out: Path, progress: Progress) -> dict:
    (out / "model").mkdir(parents=True)
    write_json(out / "model" / "config.json", job["what"])
    return {}


def batches(job: dict) -> Iterator[tuple[int, list[dict]]]:
    start = 0
    for batch in pq.ParquetFile(job["rows"]).iter_batches(PART):
        yield start, batch.to_pylist()
        start += len(batch)


def responses(job: dict, out: Path, progress: Progress) -> dict:
    total = pq.read_metadata(job["rows"]).num_rows
    for start, rows in batches(job):
        write_part([response(row) for row in rows], RESPONSE, out / f"part-{start:09d}.parquet")
        progress(start + len(rows), total)
    return {"tokens_made": total}


def response(row: dict) -> dict:
    """300 to 1,500 bytes, by the row's seed."""
    length, place = 300 + row["seed"] % 1201, row["seed"] % (len(PROSE) - 1501)
    text = PROSE[place : place + length]
    return {
        "prompt_id": row["prompt_id"],
        "sample_index": row["sample_index"],
        "text": text,
        "content_id": content_id(row["prompt_id"], text),
        "prompt_tokens": 20,
        "tokens": length // 4,
        "finish_reason": "stop",
        "seed": row["seed"],
        "engine": "stub",
    }


def scores(job: dict, out: Path, progress: Progress) -> dict:
    total = pq.read_metadata(job["rows"]).num_rows
    for start, rows in batches(job):
        write_part([scored(row["content_id"]) for row in rows], SCORE, out / f"part-{start:09d}.parquet")
        progress(start + len(rows), total)
    return {"tokens_made": total}


def scored(content: str) -> dict:
    return {"content_id": content, "score": int(content[:8], 16) / 2**32, "tokens": 200, "truncated": False}


if __name__ == "__main__":
    run(stub)
