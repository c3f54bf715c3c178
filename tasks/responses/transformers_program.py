"""Program: generates responses of a causal language model with transformers.

JOB {model, rows, prompts, what, how, threads, beside}; writes OUT/part-*.parquet. A row's random numbers depend only on its
seed, not on the other rows of its batch.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig, LogitsProcessorList

from tasks.loading import load_model, load_tokenizer, pad_rows
from tasks.positions import PositionLimit, position_limit
from tasks.program import Progress, run_program
from tasks.records import RESPONSE
from tasks.responses.token_rows import (
    Reader,
    TokenRequest,
    answer_row,
    context_of,
    count_of,
    find_end_tokens,
    jobs_of,
    rows_of,
)
from tasks.responses.transformers_sampling import sampling_steps
from tasks.rows.parts import Parts
from tasks.tokens import prompt_ids

ENGINE = f"transformers {transformers.__version__}"


def generate_rows(job: dict, out: Path, progress: Progress) -> dict:
    torch.set_num_threads(job["threads"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = load_tokenizer(job["model"])
    model = load_model(AutoModelForCausalLM, job["model"]).to(device).eval()  # pyright: ignore[reportArgumentType]
    jobs = jobs_of(job, out)
    total, tokens, before = sum(count_of(each) for each, _ in jobs), 0, 0
    started_at = time.monotonic(), time.process_time()
    for each, folder in jobs:
        parts = Parts(RESPONSE, folder, job["how"]["part_seconds"])
        for made in answer_rows(model, tokenizer, each, parts):
            tokens += made
            progress(before + parts.count, total)
        before += parts.count
    return {
        "tokens_made": tokens,
        "sampling_seconds": round(time.monotonic() - started_at[0], 3),  # without loading the model
        "sampling_cpu_seconds": round(time.process_time() - started_at[1], 3),
    }


def answer_rows(model, tokenizer, job: dict, parts: Parts) -> Iterator[int]:
    """Makes the rows of a job batch by batch; yields each batch's number of tokens."""
    what, how = job["what"], job["how"]
    reader = Reader(tokenizer, context_of(job["model"]), what["max_new_tokens"])
    side = partial(side_of, limit=position_limit(model.config), max_new_tokens=what["max_new_tokens"])
    for number, batch in enumerate(batches(map(reader, rows_of(job)), how["batch_size"], side), 1):
        rows = [one for one in batch if not isinstance(one, TokenRequest)]
        made = generate_answers(model, tokenizer, [one for one in batch if isinstance(one, TokenRequest)], what)
        parts.add(rows + made)
        if number % how["batches_per_part"] == 0:
            parts.close()
        yield sum(row["tokens"] for row in made)
    parts.close()


def batches(
    waiting: Iterable[TokenRequest | dict], size: int, side: Callable[[TokenRequest | dict], str]
) -> Iterator[list]:
    """Yields batches in which all rows have the same `side_of`; rows keep their order."""
    begun: dict[str, list] = {}
    for one in waiting:
        batch = begun.setdefault(where := side(one), [])
        batch.append(one)
        if len(batch) == size or where == "alone":
            yield begun.pop(where)
    yield from begun.values()


def side_of(one: TokenRequest | dict, limit: PositionLimit | None, max_new_tokens: int) -> str:
    """The group of rows that may share a batch with this one. In models with a position limit, the longest row of a batch
    changes the positions of all rows. `len(ids) - 1` because prefill_prompts leaves out the prompt's last token."""
    if limit is None or not isinstance(one, TokenRequest) or len(one.ids) + max_new_tokens <= limit.tokens:
        return "within"
    return "beyond" if limit.kind == "longrope" and len(one.ids) - 1 > limit.tokens else "alone"


def sample_batch(model, tokenizer, rows: list[dict], what: dict) -> list[dict]:
    """Generates the responses to one batch of rows, without a check of the context length."""
    requests = [TokenRequest(row, prompt_ids(tokenizer, row["messages"]), what["max_new_tokens"]) for row in rows]
    return generate_answers(model, tokenizer, requests, what)


@torch.inference_mode()
def generate_answers(model, tokenizer, requests: list[TokenRequest], what: dict) -> list[dict]:
    """Generates one left-padded batch. Each prompt is computed once, even if the batch has several samples of it."""
    if not requests:
        return []
    batch = {
        name: ids.to(model.device)
        for name, ids in pad_rows([one.ids for one in requests], tokenizer.pad_token_id, "left").items()
    }
    width = batch["input_ids"].shape[1]
    ends = find_end_tokens(model.generation_config, tokenizer)
    # replaced because generate takes missing settings from it: a repetition penalty, banned tokens, beams
    model.generation_config = GenerationConfig(eos_token_id=sorted(ends))
    config = GenerationConfig(
        max_new_tokens=max(one.room for one in requests),
        do_sample=False,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id or 0,
    )
    ids = model.generate(
        **batch,
        **prefill_prompts(model, requests, batch),
        generation_config=config,
        logits_processor=LogitsProcessorList(sampling_steps(requests, width, what)),
    )
    return [
        answer_row(tokenizer, one.row, len(one.ids), new[: one.room], ends, ENGINE)
        for one, new in zip(requests, ids[:, width:].tolist(), strict=True)
    ]


def prefill_prompts(model, requests: list[TokenRequest], batch: dict[str, torch.Tensor]) -> dict:
    """Computes the keys and values of every prompt but its last token, once per prompt, and copies them to its samples.

    Only if every layer has full attention: other caches cannot be copied row by row.
    """
    prompts = [one.row["prompt_id"] for one in requests]
    first = {prompt: place for place, prompt in reversed(list(enumerate(prompts)))}
    if len(first) == len(prompts) or batch["input_ids"].shape[1] < 2 or not attends_to_everything(model):
        return {}
    places = sorted(first.values())
    rank = {place: number for number, place in enumerate(places)}
    cache = model(
        input_ids=batch["input_ids"][places, :-1],
        attention_mask=batch["attention_mask"][places, :-1],
        position_ids=(batch["attention_mask"][places, :-1].cumsum(-1) - 1).clamp_min(0),
        use_cache=True,
        logits_to_keep=1,
    ).past_key_values
    cache.batch_select_indices(torch.tensor([rank[first[prompt]] for prompt in prompts], device=model.device))
    return {"past_key_values": cache}


def attends_to_everything(model) -> bool:
    kinds = getattr(model.config.get_text_config(), "layer_types", None)
    return kinds is None or set(kinds) == {"full_attention"}


if __name__ == "__main__":
    run_program(generate_rows)
