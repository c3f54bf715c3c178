"""Program: supervised fine-tuning on chosen responses, loss on the response alone. `python -m tasks.sft.train JOB OUT`.

Reads a model folder and Parquet files of SFT_RECORD; leaves `model/` and `steps.parquet`. TRL's SFTTrainer is given
token ids, not text, so it sees the very same tokens as sampling and WRPO do.
"""

import math
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer

from infra.errors import BadInput
from tasks.program import Progress, run
from tasks.records import SFT_RECORD
from tasks.tokens import fit, prompt_ids, response_ids

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
    what, how = job["what"], job["how"]
    torch.set_num_threads(job["threads"])
    model, tokenizer = load(Path(job["model"]))
    rows, truncated = encode(read(job["records"]), tokenizer, what["max_length"])
    trainer = SFTTrainer(
        model=model,
        args=arguments(what, how, job["seed"], len(rows), out),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Watch(progress)],
    )
    trainer.train()
    if trainer.is_world_process_zero():
        save(model, tokenizer, Path(job["model"]), out / "model")
    steps = write_steps(trainer, out / "steps.parquet")
    return {
        "steps": len(steps),
        "rows": len(rows),
        "tokens": sum(step["tokens"] for step in steps),
        "truncated": truncated,
        "loss_first": steps[0]["loss"],
        "loss_last": steps[-1]["loss"],
    }


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if not (folder / "config.json").is_file():
        raise BadInput(f"model: {folder} holds no config.json")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def read(files: list[str]) -> list[dict]:
    tables = [pq.read_table(file, columns=SFT_RECORD.names) for file in files]
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    if not rows:
        raise BadInput(f"records: no rows in {files}")
    return rows


def encode(records: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[list[dict], int]:
    """Token ids with a mask that is 1 on the response and its end token; and how many responses were cut."""
    rows, truncated = [], 0
    for record in records:
        prompt = prompt_ids(tokenizer, record["messages"])
        (response,), cut = fit(prompt, [response_ids(tokenizer, record["response"])], max_length, record["prompt_id"])
        truncated += cut
        rows.append({"input_ids": prompt + response, "completion_mask": [0] * len(prompt) + [1] * len(response)})
    return rows, truncated


def arguments(what: dict, how: dict, seed: int, rows: int, out: Path) -> SFTConfig:
    args = SFTConfig(
        output_dir=str(out),
        completion_only_loss=True,
        max_length=None,  # already cut, each response by its own budget
        packing=False,
        per_device_train_batch_size=how["device_batch_size"],
        max_steps=total_steps(what, rows),
        learning_rate=what["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=what["warmup_ratio"],  # below 1 it is a share of all steps
        optim="adamw_torch",
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        weight_decay=0.0,
        max_grad_norm=1.0,
        use_cpu=not torch.cuda.is_available(),
        bf16=how["precision"] == "bf16",
        gradient_checkpointing=how["gradient_checkpointing"],
        seed=seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    args.gradient_accumulation_steps = accumulation(what["batch_size"], how["device_batch_size"], args.world_size)
    return args


def total_steps(what: dict, rows: int) -> int:
    """All epochs, the last batch of each as small as it comes; or fewer, where `max_steps` ends the training early."""
    steps = what["epochs"] * math.ceil(rows / what["batch_size"])
    return min(steps, what["max_steps"] or steps)


def accumulation(batch_size: int, device_batch_size: int, world: int) -> int:
    """Micro-batches per optimizer step, so that the global batch is what was asked for."""
    if batch_size % (device_batch_size * world):
        raise BadInput(
            f"what.batch_size {batch_size} is not a multiple of"
            f" how.device_batch_size {device_batch_size} times {world} processes"
        )
    return batch_size // (device_batch_size * world)


class Watch(TrainerCallback):
    """Tells how far training is, and stops it at the first loss or gradient that is not a number."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def on_step_end(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.progress(state.global_step, state.max_steps, "steps")

    def on_log(self, args, state, control, logs, **kwargs):
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise FloatingPointError(f"{name} {logs[name]} at optimizer step {state.global_step}")


def write_steps(trainer: SFTTrainer, file: Path) -> list[dict]:
    """One row per optimizer step; TRL counts tokens from the start, here they are the step's own."""
    steps = [dict(entry) for entry in trainer.state.log_history if "loss" in entry]
    totals = [int(step["num_tokens"]) for step in steps]
    for step, total, before in zip(steps, totals, [0, *totals], strict=False):
        step["tokens"] = total - before
    if trainer.is_world_process_zero():
        pq.write_table(pa.Table.from_pylist(steps, schema=STEP), file)
    return steps


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Path, folder: Path) -> None:
    """The weights and tokenizer; the generation config stays what it was, since training decides nothing about it."""
    kept = source / "generation_config.json"
    if kept.is_file():
        model.generation_config = GenerationConfig()  # not all that are published pass the check on saving
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if kept.is_file():
        shutil.copyfile(kept, folder / kept.name)


if __name__ == "__main__":
    run(main)
