"""Program: scores from a reward model loaded with transformers, in batches by length, padded on the right.

JOB {model, rows, what, how, threads}; writes OUT/part-*.parquet.
"""

import math
from pathlib import Path

import pyarrow.parquet as pq
import torch

from tasks.program import Progress, run_program
from tasks.records import SCORE
from tasks.rows.parts import write_in_parts
from tasks.scores.scorer import Scorer

SORTED = 4  # number of batches that are sorted by length together


def score_all(job: dict, out: Path, progress: Progress) -> dict:
    torch.set_num_threads(job["threads"])
    what, how = job["what"], job["how"]
    scorer = Scorer(job["model"], what, how["batch_size"], how["batch_tokens"])
    rows = pq.read_table(job["rows"]).to_pylist()
    scorer.choose_layout(rows, how["layout"])
    together = min(SORTED, how["batches_per_part"])
    batches = {
        "batch_size": how["batch_size"] * together,
        "batches_per_part": math.ceil(how["batches_per_part"] / together),
    }
    tokens = write_in_parts(rows, batches, SCORE, out, progress, scorer.score)
    return {"tokens_made": tokens, "layout": scorer.layout, "read_apart": scorer.apart, "batches_halved": scorer.halved}


if __name__ == "__main__":
    run_program(score_all)
