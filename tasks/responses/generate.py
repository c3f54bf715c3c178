"""Program: responses of a causal language model through transformers, each row with a random stream of its own.

JOB {model, rows, what, how, threads}; writes OUT/part-*.parquet. A row's noise depends on its seed alone, not on the
rows it shares a batch with.
"""

from pathlib import Path

import pyarrow.parquet as pq
import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig, LogitsProcessor

from infra.errors import BadInput
from tasks.loading import load_model, load_tokenizer, pad
from tasks.parts import write_in_parts
from tasks.program import Progress, run
from tasks.records import RESPONSE, content_id
from tasks.tokens import end_id, prompt_ids


class SeededChoice(LogitsProcessor):
    """Turns the scores of the next token into the choice that each row's own noise makes: temperature, then top-p."""

    def __init__(self, seeds: list[int], prompt_length: int, temperature: float, top_p: float, max_new_tokens: int):
        rows = [
            torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            for seed in seeds
        ]
        self.noise, self.start, self.temperature, self.top_p = torch.stack(rows), prompt_length, temperature, top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        refuse_bad(scores)
        noise = self.noise[:, input_ids.shape[1] - self.start].to(scores.device)
        sorted_probabilities, order = torch.softmax(scores.double() / self.temperature, -1).sort(
            dim=-1, descending=True, stable=True
        )
        cumulative = sorted_probabilities.cumsum(-1)
        nucleus = sorted_probabilities.where(cumulative - sorted_probabilities < self.top_p, 0.0).cumsum(-1)
        rank = torch.searchsorted(nucleus, (noise * nucleus[:, -1]).unsqueeze(-1), right=True).clamp_max(
            scores.shape[-1] - 1
        )
        return torch.full_like(scores, float("-inf")).scatter(-1, order.gather(-1, rank), 0.0)


class LikeliestChoice(LogitsProcessor):
    """Greedy decoding: the scores as they are, once they are seen to be numbers."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        refuse_bad(scores)
        return scores


def refuse_bad(scores: torch.Tensor) -> None:
    if not torch.isfinite(scores).any(dim=-1).all() or torch.isnan(scores).any():
        raise BadInput("model: its scores of the next token are not numbers")


def generate(job: dict, out: Path, progress: Progress) -> dict:
    torch.set_num_threads(job["threads"])
    what, how = job["what"], job["how"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = load_tokenizer(job["model"])
    model = load_model(AutoModelForCausalLM, job["model"]).to(device).eval()
    rows = pq.read_table(job["rows"]).to_pylist()
    tokens = write_in_parts(rows, how, RESPONSE, out, progress, lambda batch: sample(model, tokenizer, batch, what))
    return {"tokens_made": tokens}


@torch.inference_mode()
def sample(model, tokenizer, rows: list[dict], what: dict) -> list[dict]:
    """One batch, left-padded: the responses to its rows."""
    prompts = [prompt_ids(tokenizer, row["messages"]) for row in rows]
    batch = {name: ids.to(model.device) for name, ids in pad(prompts, tokenizer.pad_token_id, "left").items()}
    width = batch["input_ids"].shape[1]
    ends = end_tokens(model, tokenizer)
    config = GenerationConfig(
        max_new_tokens=what["max_new_tokens"],
        do_sample=False,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id or 0,
    )
    choice = LikeliestChoice()
    if what["temperature"]:
        seeds = [row["seed"] for row in rows]
        choice = SeededChoice(seeds, width, what["temperature"], what["top_p"], what["max_new_tokens"])
    ids = model.generate(**batch, generation_config=config, logits_processor=[choice])
    return [
        response(tokenizer, row, len(prompt), new, ends)
        for row, prompt, new in zip(rows, prompts, ids[:, width:].tolist(), strict=True)
    ]


def end_tokens(model, tokenizer) -> set[int]:
    """Where an answer ends: the token that the chat template puts there, as in training, and the model's own."""
    own = model.generation_config.eos_token_id
    return {end_id(tokenizer), *(own if isinstance(own, list) else [] if own is None else [own])}


def response(tokenizer, row: dict, prompt_tokens: int, ids: list[int], ends: set[int]) -> dict:
    """A row of the pool: the text up to the end token, which counts as a token but is not text."""
    stop = next((place for place, token in enumerate(ids) if token in ends), None)
    kept = ids if stop is None else ids[:stop]
    text = tokenizer.decode(kept, skip_special_tokens=True)
    return {
        "prompt_id": row["prompt_id"],
        "sample_index": row["sample_index"],
        "text": text,
        "content_id": content_id(row["prompt_id"], text),
        "prompt_tokens": prompt_tokens,
        "tokens": len(kept) + (stop is not None),
        "finish_reason": "length" if stop is None else "stop",
        "seed": row["seed"],
        "engine": f"transformers {transformers.__version__}",
    }


if __name__ == "__main__":
    run(generate)
