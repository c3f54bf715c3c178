"""Program: supervised fine-tuning on chosen responses. `python -m tasks.sft.train JOB OUT`.

Reads a model folder and Parquet files of SFT_RECORD; leaves `model/` and `steps.parquet`. The trainer is given token ids,
not text, so it sees the very same tokens as sampling and WRPO do.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase
from trl import SFTConfig

from tasks.adapters import adapted
from tasks.group import part
from tasks.kept import keep
from tasks.loading import load_model, load_tokenizer
from tasks.program import Progress, run
from tasks.records import SFT_RECORD
from tasks.reporting import trackers
from tasks.resume import Checkpoints, newest
from tasks.sft.best import BestOfTwo, hold_out
from tasks.sft.packing import pack
from tasks.sft.trainer import IGNORED, SftTrainer, write_steps
from tasks.tokens import fit, prompt_ids, response_ids
from tasks.trainer import StepCount, arguments, enough_memory, read, summary


def main(job: dict, out: Path, progress: Progress) -> dict | None:
    what = job["what"]
    torch.set_num_threads(job["threads"])
    model, tokenizer = load_model(AutoModelForCausalLM, job["model"], torch.float32), load_tokenizer(job["model"])
    records, two = read("records", job["records"], SFT_RECORD), what.get("best_of_two")
    records, held_out = hold_out(records, two["held_out"]) if two else (records, [])
    rows, counts = in_form(what.get("form"), records, tokenizer, what["max_length"], job["seed"])
    trainer = SftTrainer(
        model=adapted(model, what.get("lora"), job["seed"]),
        args=arguments(SFTConfig, job, len(rows), out, packing=False, max_length=None, remove_unused_columns=False),
        rows=rows,
        tokenizer=tokenizer,
        callbacks=[StepCount(progress), *trackers(job)],
    )
    if two:
        unseen, _ = in_form(what.get("form"), held_out, tokenizer, what["max_length"], job["seed"])
        trainer.add_callback(best := BestOfTwo(trainer, unseen, two["every"], out))
    resume = newest(job, out)
    trainer.add_callback(Checkpoints(out, job["how"]["checkpoint_steps"], resume))
    with enough_memory(job):
        trainer.train(resume_from_checkpoint=resume and str(resume))
    kept, losses = best.better() if two else (None, {})
    keep(trainer, tokenizer, job, out, kept)
    part()
    if not trainer.is_world_process_zero():
        return None
    return summary(write_steps(trainer, out / "steps.parquet"), len(rows), **counts, **losses)


def in_form(
    form: str, records: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int
) -> tuple[list[dict], dict]:
    """Rows for the trainer, and what there is to count."""
    if form == "packed":
        return blocks(records, tokenizer, max_length, seed)
    rows, truncated = encode(records, tokenizer, max_length)
    return rows, {"truncated": truncated}


def encode(records: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[list[dict], int]:
    """Token ids, labels on the response and its end token alone; and how many responses were cut."""
    rows, truncated = [], 0
    for record in records:
        prompt = prompt_ids(tokenizer, record["messages"])
        (response,), cut = fit(prompt, [response_ids(tokenizer, record["response"])], max_length, record["prompt_id"])
        truncated += cut
        labels = [IGNORED] * len(prompt) + response
        rows.append({"input_ids": prompt + response, "labels": labels, "name": record["prompt_id"]})
    return rows, truncated


def blocks(
    records: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int
) -> tuple[list[dict], dict]:
    """The published form: blocks of whole records in a chain, without masks, and what was left over."""
    samples = [
        prompt_ids(tokenizer, record["messages"]) + response_ids(tokenizer, record["response"]) for record in records
    ]
    packed, left_over = pack(samples, max_length, seed)
    rows = [{"input_ids": block, "labels": block, "name": f"block {place}"} for place, block in enumerate(packed)]
    return rows, {"packed_records": len(records), "left_over_tokens": left_over}


if __name__ == "__main__":
    run(main)
