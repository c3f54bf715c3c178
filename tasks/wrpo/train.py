"""Program: preference optimisation of one model on triples (WRPO). `python -m tasks.wrpo.train JOB OUT`.

Reads a model folder and Parquet files of PREFERENCE_RECORD; leaves `model/` and `steps.parquet`.
"""

import math
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)

from infra.errors import BadInput
from tasks.program import Progress, run
from tasks.records import PREFERENCE_RECORD
from tasks.tokens import fit, prompt_ids, response_ids
from tasks.wrpo.trainer import RESPONSES, WrpoTrainer, write_steps


def main(job: dict, out: Path, progress: Progress) -> dict:
    what, how = job["what"], job["how"]
    objective = what["objective"]
    if objective["kind"] != "wrpo":
        raise BadInput(f"what.objective.kind: {objective['kind']!r} is not one of: 'wrpo'")
    torch.set_num_threads(job["threads"])
    model, tokenizer = load(Path(job["model"]))
    rows, truncated = encode(read(job["pairs"]), tokenizer, what["max_length"])
    trainer = WrpoTrainer(
        model=model,
        args=arguments(what, how, job["seed"], len(rows), out),
        rows=rows,
        beta=objective["beta"],
        alpha=objective["alpha"],
        pad_id=tokenizer.pad_token_id or 0,  # masked: never attended to, never a label
    )
    if trainer.is_world_process_zero():
        trainer.add_callback(Report(progress))
        trainer.store_reference(lambda done, total: progress(done, total, "reference rows"))
    else:
        trainer.store_reference()
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
    tables = [pq.read_table(file, columns=PREFERENCE_RECORD.names) for file in files]
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    if not rows:
        raise BadInput(f"pairs: no rows in {files}")
    return rows


def encode(records: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[list[dict], int]:
    """Rows of token tensors, and how many responses were cut."""
    rows, truncated = [], 0
    for record in records:
        prompt = prompt_ids(tokenizer, record["messages"])
        responses = [response_ids(tokenizer, record[name]) for name in RESPONSES]
        responses, cut = fit(prompt, responses, max_length, record["prompt_id"])
        truncated += cut
        ids = dict(zip(("prompt", *RESPONSES), [prompt, *responses], strict=True))
        tensors = {name: torch.tensor(value, dtype=torch.int32) for name, value in ids.items()}
        rows.append({"prompt_id": record["prompt_id"]} | tensors)
    return rows, truncated


def arguments(what: dict, how: dict, seed: int, rows: int, out: Path) -> TrainingArguments:
    args = TrainingArguments(
        output_dir=str(out),
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
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    if args.n_gpu > 1:
        raise BadInput(f"{args.n_gpu} GPUs are visible to one process: start one process for each, or show it only one")
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


class Report(TrainerCallback):
    def __init__(self, progress: Progress):
        self.progress = progress

    def on_step_end(self, args, state, control, **kwargs):
        self.progress(state.global_step, state.max_steps, "steps")


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
