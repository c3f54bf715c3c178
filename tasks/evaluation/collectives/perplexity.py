"""Program: computes a model's surprise at prompts, in nats per token, on the plain text without chat template.

JOB {model, rows, batch_size, threads}; writes OUT/perplexity.parquet.
"""

from pathlib import Path
from typing import cast

import pandas as pd
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tasks.loading import load_model, load_tokenizer, pad_rows
from tasks.program import Progress, run_program

LONGEST = 2048  # longer prompts are cut to this number of tokens


def main(job: dict, out: Path, progress: Progress) -> dict:
    torch.set_num_threads(job["threads"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_tokenizer(job["model"])
    model = load_model(AutoModelForCausalLM, job["model"]).eval().to(device)  # pyright: ignore[reportArgumentType]
    rows = pd.read_parquet(job["rows"])
    prompts = [tokenizer(text)["input_ids"][:LONGEST] for text in rows["text"]]
    pad_token = cast("int | None", tokenizer.pad_token_id)
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))  # less padding
    nats = [0.0] * len(prompts)
    for start in range(0, len(order), job["batch_size"]):
        places = order[start : start + job["batch_size"]]
        values = compute_surprise(model, [prompts[place] for place in places], pad_token)
        for place, value in zip(places, values, strict=True):
            nats[place] = value
        progress(start + len(places), len(order), "prompts")
    rows[["prompt_id"]].assign(nats=nats).to_parquet(out / "perplexity.parquet", index=False)
    return {"rows": len(rows), "tokens": sum(map(len, prompts))}


@torch.inference_mode()
def compute_surprise(model: PreTrainedModel, rows: list[list[int]], pad_token: int | None) -> list[float]:
    """Mean of -log p(token | earlier tokens) over all tokens but the first; infinite for a prompt of one token."""
    batch = {name: values.to(model.device) for name, values in pad_rows(rows, pad_token, "right").items()}
    log_probs = model(**batch).logits[:, :-1].float().log_softmax(-1)
    of_tokens = log_probs.gather(-1, batch["input_ids"][:, 1:, None])[..., 0] * batch["attention_mask"][:, 1:]
    counts = batch["attention_mask"][:, 1:].sum(-1)
    return torch.where(counts > 0, -of_tokens.sum(-1) / counts.clamp(min=1), torch.inf).tolist()


if __name__ == "__main__":
    run_program(main)
