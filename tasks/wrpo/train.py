"""Program: preference optimisation of one model on triples (WRPO). `python -m tasks.wrpo.train JOB OUT`.

Reads a model folder, Parquet files of PREFERENCE_RECORD and the reference's LOG_PROB; writes `model/`, `steps.parquet` and
`speed.parquet`.
"""

from pathlib import Path
from typing import cast

import pyarrow as pa
import torch
from transformers import TrainingArguments

from tasks.loading import load_tokenizer
from tasks.program import Progress, run_program
from tasks.records import PREFERENCE_RECORD
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
from tasks.training.truncation import refuse_none
from tasks.wrpo.batches import encode_pairs
from tasks.wrpo.layout_trial import LayoutTrial, prepare_model
from tasks.wrpo.preference import from_job
from tasks.wrpo.trainer import WrpoTrainer, write_wrpo_steps
from tasks.wrpo.verify_reference import VerifyReference, join_reference


def main(job: dict, out: Path, progress: Progress) -> dict | None:
    with enough_memory(job, "wrpo"):
        return train_wrpo_model(job, out, progress)


def train_wrpo_model(job: dict, out: Path, progress: Progress) -> dict | None:
    what = job["what"]
    preference = from_job(what, job["seed"])
    torch.set_num_threads(job["threads"])
    tokenizer = load_tokenizer(job["model"])
    names = ["prompt_id", "messages", *preference.roles, *(f"{role}_finish_reason" for role in preference.roles)]
    needed = pa.schema([PREFERENCE_RECORD.field(name) for name in names])
    records = read_records("pairs", job["pairs"], needed)
    rows, counts = encode_pairs(records, tokenizer, what["max_length"], preference.roles)
    refuse_none(len(rows), len(records), what["max_length"])
    if preference.needs_reference:
        join_reference(rows, job["reference"], preference.roles)
    pad_id = cast(int, tokenizer.pad_token_id or 0)  # any id will do: padding is masked and has no label
    # The arguments start DeepSpeed, which then splits the weights while they are read.
    args = training_arguments(TrainingArguments, job, len(rows), out, remove_unused_columns=False)
    model = load_base(job["model"], base_of(what), what["precision"], args.device)
    prepare_model(model, rows)
    trainer = WrpoTrainer(
        model=add_adapter(model, what.get("lora"), job["seed"]),
        args=args,
        rows=rows,
        preference=preference,
        pad_id=pad_id,
    )
    trainer.add_callback(LayoutTrial(trainer, job["how"]["layout"], what["precision"]))
    [trainer.add_callback(callback) for callback in (StepCount(progress), *make_trackers(job))]
    resume = newest_checkpoint(job, out)
    if preference.needs_reference:
        trainer.add_callback(VerifyReference(trainer, what["precision"], job["seed"], out, resume))
    trainer.add_callback(CheckpointCallback(out, job["how"]["checkpoint_steps"], resume))
    trainer.train(resume_from_checkpoint=resume and str(resume))
    keep_model(trainer, tokenizer, job, out)
    leave_process_group()
    if not trainer.is_world_process_zero():
        return None
    steps = write_wrpo_steps(trainer, out / "steps.parquet")
    write_speed(steps, out / "speed.parquet")
    return summarise_training(steps, len(rows), **counts) | {"layout": trainer.layout}


if __name__ == "__main__":
    run_program(main)
