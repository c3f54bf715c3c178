"""Program: supervised fine-tuning on chosen responses. `python -m tasks.sft.train JOB OUT`.

Reads a model folder and Parquet files of SFT_RECORD; leaves `model/` and `steps.parquet`. TRL's SFTTrainer is given
token ids, not text, so it sees the very same tokens as sampling and WRPO do.
"""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer

from tasks.adapters import adapted
from tasks.loading import load_model, load_tokenizer
from tasks.program import Progress, run
from tasks.records import SFT_RECORD
from tasks.resume import Checkpoints, newest
from tasks.sft.packing import pack
from tasks.tokens import fit, prompt_ids, response_ids
from tasks.trainer import StepCount, arguments, enough_memory, finished, read, save, summary

STEP = pa.schema(
    [
        ("step", pa.int32()),  # optimizer steps done, this one included
        ("loss", pa.float64()),  # mean over the response tokens of the whole batch
        ("learning_rate", pa.float64()),
        ("grad_norm", pa.float64()),  # before clipping
        ("tokens", pa.int64()),  # fed to the model, prompts included
    ]
)


def main(job: dict, out: Path, progress: Progress) -> dict:
    what = job["what"]
    torch.set_num_threads(job["threads"])
    model, tokenizer = load_model(AutoModelForCausalLM, job["model"], torch.float32), load_tokenizer(job["model"])
    records = read("records", job["records"], SFT_RECORD)
    packed = what.get("form") == "packed"
    if packed:
        rows, counts = blocks(records, tokenizer, what["max_length"], job["seed"])
    else:
        rows, truncated = encode(records, tokenizer, what["max_length"])
        counts = {"truncated": truncated}
    trainer = SFTTrainer(
        model=adapted(model, what.get("lora"), job["seed"]),
        args=arguments(SFTConfig, job, len(rows), out, completion_only_loss=not packed, packing=False, max_length=None),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[StepCount(progress), StepTokens(), StopAtNonsense()],
    )
    resume = newest(job, out)
    trainer.add_callback(Checkpoints(out, job["how"]["checkpoint_steps"], resume))
    with enough_memory(job):
        trainer.train(resume_from_checkpoint=resume and str(resume))
    if trainer.is_world_process_zero():
        save(finished(trainer.model, what["precision"]), tokenizer, Path(job["model"]), out / "model")
    steps = write_steps(trainer, out / "steps.parquet")
    return summary(steps, len(rows), **counts)


def encode(records: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[list[dict], int]:
    """Token ids with a mask that is 1 on the response and its end token; and how many responses were cut."""
    rows, truncated = [], 0
    for record in records:
        prompt = prompt_ids(tokenizer, record["messages"])
        (response,), cut = fit(prompt, [response_ids(tokenizer, record["response"])], max_length, record["prompt_id"])
        truncated += cut
        rows.append({"input_ids": prompt + response, "completion_mask": [0] * len(prompt) + [1] * len(response)})
    return rows, truncated


def blocks(
    records: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int
) -> tuple[list[dict], dict]:
    """The published form: blocks of whole records in a chain, without masks, and what was left over."""
    samples = [
        prompt_ids(tokenizer, record["messages"]) + response_ids(tokenizer, record["response"]) for record in records
    ]
    packed, left_over = pack(samples, max_length, seed)
    return [{"input_ids": block} for block in packed], {"packed_records": len(records), "left_over_tokens": left_over}


class StepTokens(TrainerCallback):
    """TRL counts tokens from the start of the program; the log gets the step's own."""

    def __init__(self):
        self.before = 0

    def on_log(self, args, state, control, logs, **kwargs):
        if "loss" in logs:
            state.log_history[-1]["tokens"] = int(logs["num_tokens"]) - self.before
            self.before = int(logs["num_tokens"])


class StopAtNonsense(TrainerCallback):
    """Stops the training at the first loss or gradient that is not a number."""

    def on_log(self, args, state, control, logs, **kwargs):
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise FloatingPointError(f"{name} {logs[name]} at optimizer step {state.global_step}")


def write_steps(trainer: SFTTrainer, file: Path) -> list[dict]:
    """One row per optimizer step, those before a resume among them."""
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    if trainer.is_world_process_zero():
        pq.write_table(pa.Table.from_pylist(steps, schema=STEP), file)
    return steps


if __name__ == "__main__":
    run(main)
