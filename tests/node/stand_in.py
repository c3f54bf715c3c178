"""A program of a recipe, without its model: makes rows of the right shape, or a model and checkpoints, in as many seconds as
its job says, and holds the locks of its GPUs."""

import hashlib
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.program import Progress, run
from tasks.records import LOG_PROB, RESPONSE, SCORE, content_id
from tasks.rows.parts import Parts
from tests.node.record import RANK, Record

SCHEMAS = {
    "tasks.responses.vllm_program": RESPONSE,
    "tasks.scores.transformers_program": SCORE,
    "tasks.wrpo.reference": LOG_PROB,
}
LOGGED = (
    *("loss", "learning_rate", "grad_norm", "alpha", "margin", "accuracy_source", "accuracy_own", "accuracy_weighted"),
    *("reward_source_best", "reward_own_best", "reward_own_worst"),
)
STEPS = 10  # of a training, a checkpoint after each


def stand_in(job: dict, out: Path, progress: Progress) -> dict | None:
    record = Record(job)
    schema = SCHEMAS.get(job["program"])
    made = rows(job, out, progress, record, schema) if schema else train(job, out, progress, record)
    return made if RANK == 0 else None


def rows(job: dict, out: Path, progress: Progress, record: Record, schema: pa.Schema) -> dict:
    asked, parts = pq.read_table(job["rows"]).to_pylist(), Parts(schema, out, 1.0)
    began, tenth = time.time(), max(len(asked) // 10, 1)
    for place, row in enumerate(asked, 1):
        if place % tenth == 0 or place == len(asked):
            record.wait_until(began + job["seconds"] * place / len(asked))
            if RANK == 0:
                progress(place, len(asked))
        if RANK == 0:
            parts.add([made_of(row, schema, job["model"])])
    if RANK == 0:
        parts.close()
    return {"tokens_made": len(asked)}


def made_of(row: dict, schema: pa.Schema, model: str) -> dict:
    """A row whose values follow from the model and the row that was asked for."""
    drawn = int(hashlib.sha256(f"{model} {row}".encode()).hexdigest()[:8], 16)
    known = {
        "text": f"answer {drawn}",
        "content_id": content_id(row.get("prompt_id", ""), f"answer {drawn}"),
        "finish_reason": "stop",
        "engine": "a stand-in",
        "score": drawn / 2**32,
        "log_prob": -drawn / 2**32,
        "tokens": 1 + drawn % 100,
        "prompt_tokens": 7,
        "truncated": False,
    }
    known |= {name: row[name] for name in ("prompt_id", "sample_index", "seed", "content_id") if name in row}
    return {field.name: known.get(field.name) for field in schema}


def train(job: dict, out: Path, progress: Progress, record: Record) -> dict:
    first = int(Path(job["resume"]).name) if "resume" in job else 0
    begun = time.time()
    for step in range(first + 1, STEPS + 1):
        record.wait_until(begun + job["seconds"] * (step - first) / STEPS)
        if RANK == 0:
            draft = out / "checkpoints" / f"draft-{step}"
            draft.mkdir(parents=True, exist_ok=True)
            (draft / "weights.txt").write_text(str(step))
            draft.rename(out / "checkpoints" / f"{step:09d}")
            progress(step, STEPS, "steps")
    if RANK == 0:
        (out / "model").mkdir()
        (out / "model" / "config.json").write_text("{}")
        logged = [{"step": step, **dict.fromkeys(LOGGED, 1.0)} for step in range(1, STEPS + 1)]
        pq.write_table(pa.Table.from_pylist(logged), out / "steps.parquet")
        pq.write_table(
            pa.Table.from_pylist([{"step": 1, "tokens": 1, "tokens_per_second": 1.0}]), out / "speed.parquet"
        )
    return {"steps": STEPS, "rows": STEPS, "tokens": STEPS}


if __name__ == "__main__":
    run(stand_in)
