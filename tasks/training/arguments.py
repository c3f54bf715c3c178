"""Code that the training programs share: reading rows, arguments of a `transformers` trainer, and numbers for the manifest.

The global batch size is part of What: the number of accumulation steps keeps it the same on any number of devices.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import TrainerCallback, TrainingArguments

from infra.errors import BadInput, OutOfMemory
from tasks.loading import out_of_memory
from tasks.program import Progress
from tasks.training import zero
from tasks.training.trackers import tracker_run_name


def read_records(name: str, files: list[str], schema: pa.Schema) -> list[dict]:
    tables = [pq.read_table(file, columns=schema.names) for file in files]
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    if not rows:
        raise BadInput(f"{name}: no rows in {files}")
    return rows


ArgumentsKind = TypeVar("ArgumentsKind", bound=TrainingArguments)


def training_arguments(kind: type[ArgumentsKind], job: dict, rows: int, out: Path, **more) -> ArgumentsKind:
    """AdamW without weight decay, cosine schedule with warm-up, gradients clipped at 1; Trainer itself saves no model."""
    what, how = job["what"], job["how"]
    processes = how.get("processes", 1)
    args = kind(
        output_dir=str(out),
        per_device_train_batch_size=how["device_batch_size"],
        gradient_accumulation_steps=accumulation_steps(what["batch_size"], how["device_batch_size"], processes),
        max_steps=total_steps(what, rows),
        learning_rate=what["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=what["warmup_ratio"],  # transformers reads a value below 1 as a share of all steps
        optim="adamw_torch",
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        weight_decay=0.0,
        max_grad_norm=1.0,
        use_cpu=not torch.cuda.is_available(),
        bf16=what["precision"] == "bf16"
        and not how.get("deepspeed"),  # accelerate would let DeepSpeed round the weights
        gradient_checkpointing=how["gradient_checkpointing"],
        seed=job["seed"],
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",  # make_trackers adds the trackers as callbacks
        run_name=tracker_run_name(job),
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        deepspeed=zero.zero_config(how.get("deepspeed"), what["precision"]),
        dataloader_pin_memory=torch.cuda.is_available(),
        **more,
    )
    if args.n_gpu > 1:
        raise BadInput(
            f"one process sees {args.n_gpu} GPUs: set how.processes to the number of GPUs, or make only one GPU visible"
        )
    if args.world_size != processes:
        raise BadInput(f"how.processes: is {processes}, but {args.world_size} processes were started")
    return args


def total_steps(what: dict, rows: int) -> int:
    """Optimizer steps of all epochs, at most `max_steps`. The last batch of an epoch may be smaller."""
    steps = what["epochs"] * math.ceil(rows / what["batch_size"])
    return min(steps, what["max_steps"] or steps)


def accumulation_steps(batch_size: int, device_batch_size: int, world: int) -> int:
    """Micro-batches per optimizer step that give a global batch of `batch_size` rows."""
    if batch_size % (device_batch_size * world):
        raise BadInput(
            f"batch_size {batch_size} is not a multiple of"
            f" how.device_batch_size {device_batch_size} times {world} processes"
        )
    return batch_size // (device_batch_size * world)


@contextmanager
def enough_memory(job: dict, room: str) -> Iterator[None]:
    """Turns an out-of-memory error into OutOfMemory, which names the recipe's settings that save memory."""
    what, how = job["what"], job["how"]
    try:
        yield
    except Exception as problem:
        if not out_of_memory(problem):
            raise
        lora = what.get("lora")
        adapters = "" if lora else f", train only adapters ({room}.lora)"
        if lora and lora.get("base") != "nf4":
            adapters = f", keep the frozen weights in 4 bits ({room}.lora.base)"
        raise OutOfMemory(
            f"out of memory: lower how.{room}.device_batch_size ({how['device_batch_size']}), set"
            f" how.{room}.gradient_checkpointing ({str(how['gradient_checkpointing']).lower()}), divide the training among"
            f" GPUs by how.{room}.processes ({how.get('processes', 1)}) and how.{room}.deepspeed"
            f" ({how.get('deepspeed') or 'none'}){adapters}, or lower {room}.max_length ({what['max_length']}), which cuts"
            f" more responses; {str(problem).partition(chr(10))[0]}"
        ) from problem


class StepCount(TrainerCallback):
    """Reports the progress of the training."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def on_step_end(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.progress(state.global_step, state.max_steps, "steps")


SPEED = pa.schema([("step", pa.int32()), ("tokens", pa.int64()), ("tokens_per_second", pa.float64())])


def write_speed(steps: list[dict], file: Path) -> None:
    """Writes tokens per second over all processes, without the time for checkpoints. A separate file, because the other
    numbers do not depend on speed."""
    pq.write_table(pa.Table.from_pylist(steps, schema=SPEED), file)


def summarise_training(steps: list[dict], rows: int, **counts: int) -> dict:
    """The training's numbers for the manifest."""
    return {
        "steps": len(steps),
        "rows": rows,
        "tokens": sum(step["tokens"] for step in steps),
        **counts,
        "loss_first": steps[0]["loss"],
        "loss_last": steps[-1]["loss"],
    }
