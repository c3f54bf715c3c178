"""Program: scores of a one-logit sequence classifier through transformers, batched by length, padded on the right.

JOB {model, rows, what, how, threads}; writes OUT/part-*.parquet.
"""

import math
from pathlib import Path

import pyarrow.parquet as pq
import torch
from transformers import AutoModelForSequenceClassification

from infra.errors import BadInput
from tasks.loading import load_model, load_tokenizer, pad
from tasks.parts import write_in_parts
from tasks.program import Progress, run
from tasks.records import SCORE
from tasks.tokens import prompt_ids, response_ids


def score(job: dict, out: Path, progress: Progress) -> dict:
    torch.set_num_threads(job["threads"])
    what, how = job["what"], job["how"]
    tokenizer = load_tokenizer(job["model"])
    model = load_model(AutoModelForSequenceClassification, job["model"])
    if model.config.num_labels != 1:
        raise BadInput(f"reward.model: {job['model']} has {model.config.num_labels} labels, a reward model has 1")
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    model.score.float()
    rows = pq.read_table(job["rows"]).to_pylist()
    tokens = write_in_parts(
        rows, how, SCORE, out, progress, lambda batch: score_batch(model, tokenizer, batch, what["max_length"])
    )
    return {"tokens_made": tokens}


@torch.inference_mode()
def score_batch(model, tokenizer, rows: list[dict], max_length: int) -> list[dict]:
    """The score is read at the last token of each row, in fp32."""
    whole = [prompt_ids(tokenizer, row["messages"]) + response_ids(tokenizer, row["text"]) for row in rows]
    ids = [row[:max_length] for row in whole]
    batch = {name: each.to(model.device) for name, each in pad(ids, tokenizer.pad_token_id, "right").items()}
    hidden = model.base_model(**batch).last_hidden_state
    last = torch.tensor([len(row) - 1 for row in ids], device=model.device)
    scores = model.score(hidden[torch.arange(len(ids), device=model.device), last].float()).squeeze(-1).tolist()
    refuse_bad(rows, scores)
    return [
        {"content_id": row["content_id"], "score": value, "tokens": len(kept), "truncated": len(kept) < len(all_ids)}
        for row, value, kept, all_ids in zip(rows, scores, ids, whole, strict=True)
    ]


def refuse_bad(rows: list[dict], scores: list[float]) -> None:
    """Before a row of them is kept: what is in a pool is never made again."""
    for row, score in zip(rows, scores, strict=True):
        if not math.isfinite(score):
            raise BadInput(f"reward model: its score of content {row['content_id']} is {score}, not a number")


if __name__ == "__main__":
    run(score)
