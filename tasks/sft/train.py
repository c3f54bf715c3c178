"""Program: supervised fine-tuning on chosen responses. `python -m tasks.sft.train JOB OUT`.

Reads a model folder and Parquet files of SFT_RECORD; writes `model/`, `steps.parquet` and `speed.parquet`. The trainer gets
token ids, not text, because it must use the same tokens as sampling and WRPO.
"""

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig  # pyright: ignore[reportPrivateImportUsage]

from tasks.loading import load_tokenizer
from tasks.positions import refuse_longer_rows
from tasks.program import Progress, run_program
from tasks.records import CUT_OFF, SFT_RECORD
from tasks.sft.best import BestOfTwoCallback, hold_out
from tasks.sft.packing import pack_samples
from tasks.sft.trainer import IGNORED, SftTrainer, write_sft_steps
from tasks.tokens import TurnsRefused, prompt_ids, response_ids
from tasks.training.arguments import (
    StepCount,
    enough_memory,
    read_records,
    summarise_training,
    training_arguments,
    write_speed,
)
from tasks.training.checkpoints import CheckpointCallback, newest_checkpoint
from tasks.training.lora import add_adapter
from tasks.training.processes import leave_process_group
from tasks.training.qlora import base_of, load_base
from tasks.training.saved_model import keep_model
from tasks.training.trackers import make_trackers
from tasks.training.truncation import fit_responses, refuse_none


def main(job: dict, out: Path, progress: Progress) -> dict | None:
    with enough_memory(job, "sft"):
        return train_sft_model(job, out, progress)


def train_sft_model(job: dict, out: Path, progress: Progress) -> dict | None:
    what = job["what"]
    torch.set_num_threads(job["threads"])
    tokenizer = load_tokenizer(job["model"])
    two, packed = what.get("best_of_two"), what.get("form") == "packed"
    records = read_records("records", job["records"], SFT_RECORD)
    samples, counts = encode_records(records, tokenizer, None if packed else what["max_length"])
    samples, held_out = hold_out(samples, two["held_out"]) if two else (samples, [])
    in_form = lambda some: pack_blocks(some, what["max_length"], job["seed"]) if packed else (some, {})
    rows, left_over = in_form(samples)
    plain = {"packing": False, "max_length": None, "remove_unused_columns": False}
    plain |= {"router_aux_loss_coef": 0.0}  # the load-balancing loss would depend on device_batch_size
    # The arguments start DeepSpeed, which then splits the weights while they are read.
    args = training_arguments(SFTConfig, job, len(rows), out, **plain)
    model = load_base(job["model"], base_of(what), what["precision"], args.device)
    refuse_longer_rows(model.config, max(len(row["input_ids"]) for row in rows), "sft")
    config = model.config.get_text_config()
    # TRL changes these settings for the training; they are restored below.
    routing = {name: value for name, value in vars(config).items() if "router" in name}
    trainer = SftTrainer(
        model=add_adapter(model, what.get("lora"), job["seed"]),
        args=args,
        rows=rows,
        tokenizer=tokenizer,
        callbacks=[StepCount(progress), *make_trackers(job)],
    )
    best = None
    if two:
        unseen, _ = in_form(held_out)
        trainer.add_callback(best := BestOfTwoCallback(trainer, unseen, two["every"], out))
    resume = newest_checkpoint(job, out)
    trainer.add_callback(CheckpointCallback(out, job["how"]["checkpoint_steps"], resume))
    trainer.train(resume_from_checkpoint=resume and str(resume))
    vars(config).update(routing)
    kept, losses = best.better() if best else (None, {})
    keep_model(trainer, tokenizer, job, out, kept)
    leave_process_group()
    if not trainer.is_world_process_zero():
        return None
    steps = write_sft_steps(trainer, out / "steps.parquet")
    write_speed(steps, out / "speed.parquet")
    return summarise_training(steps, len(rows), **counts, **left_over, **losses)


def encode_records(
    records: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> tuple[list[dict], dict[str, int]]:
    """Token ids, with labels only on the response and its end token, and counts: `truncated` responses were cut to
    `max_length`, `cut_off` ones were cut when sampled, `left_out` records have a prompt that is too long or refused by the
    template, or a response without tokens. `max_length` None: no limit."""
    samples, truncated, cut_offs = [], 0, 0
    for record in records:
        try:
            prompt = prompt_ids(tokenizer, record["messages"], record["prompt_id"])
        except TurnsRefused:
            continue
        cut_off = record["finish_reason"] == CUT_OFF
        if not (response := response_ids(tokenizer, record["response"], cut_off)):
            continue
        if max_length is not None:
            if (fitting := fit_responses(prompt, [response], max_length)) is None:
                continue
            (response,), cut = fitting
            truncated += cut
        cut_offs += cut_off
        labels = [IGNORED] * len(prompt) + response
        samples.append({"input_ids": prompt + response, "labels": labels, "name": record["prompt_id"]})
    refuse_none(len(samples), len(records), max_length)
    return samples, {"truncated": truncated, "cut_off": cut_offs, "left_out": len(records) - len(samples)}


def pack_blocks(samples: list[dict], max_length: int, seed: int) -> tuple[list[dict], dict[str, int]]:
    """The published form: blocks from a chain of samples, prompts included, with a label on every token; and counts."""
    packed, left_over = pack_samples([sample["input_ids"] for sample in samples], max_length, seed)
    rows = [{"input_ids": block, "labels": block, "name": f"block {place}"} for place, block in enumerate(packed)]
    return rows, {"packed_records": len(samples), "left_over_tokens": left_over}


if __name__ == "__main__":
    run_program(main)
