"""Program: preference optimisation of one model on triples (WRPO). `python -m tasks.wrpo.train JOB OUT`.

Reads a model folder, Parquet files of PREFERENCE_RECORD and the reference's LOG_PROBs; leaves `model/` and `steps.parquet`.
"""

from pathlib import Path

import pyarrow as pa
import torch
from transformers import TrainingArguments

from tasks.loading import load_tokenizer
from tasks.program import Progress, run
from tasks.records import PREFERENCE_RECORD
from tasks.training.arguments import StepCount, arguments, enough_memory, read, summary, write_speed
from tasks.training.checkpoints import Checkpoints, newest
from tasks.training.lora import adapted
from tasks.training.processes import part
from tasks.training.qlora import base_of, load_base
from tasks.training.saved_model import keep
from tasks.training.trackers import trackers
from tasks.training.truncation import refuse_none
from tasks.wrpo.batches import encode, make_ready
from tasks.wrpo.preference import from_job
from tasks.wrpo.trainer import WrpoTrainer, write_steps
from tasks.wrpo.verify_reference import VerifyReference, join


def main(job: dict, out: Path, progress: Progress) -> dict | None:
    with enough_memory(job, "wrpo"):
        return train(job, out, progress)


def train(job: dict, out: Path, progress: Progress) -> dict | None:
    what = job["what"]
    preference = from_job(what, job["seed"])
    torch.set_num_threads(job["threads"])
    model, tokenizer = load_base(job["model"], base_of(what), what["precision"]), load_tokenizer(job["model"])
    names = ["prompt_id", "messages", *preference.roles, *(f"{role}_finish_reason" for role in preference.roles)]
    needed = pa.schema([PREFERENCE_RECORD.field(name) for name in names])
    records = read("pairs", job["pairs"], needed)
    rows, counts = encode(records, tokenizer, what["max_length"], preference.roles)
    refuse_none(len(rows), len(records), what["max_length"])
    if preference.needs_reference:
        join(rows, job["reference"], preference.roles)
    pad_id = tokenizer.pad_token_id or 0  # masked: never attended to, never a label
    layout = make_ready(model, rows, pad_id, job["how"]["layout"])  # before the arguments, which bring up DeepSpeed
    trainer = WrpoTrainer(
        model=adapted(model, what.get("lora"), job["seed"]),
        args=arguments(TrainingArguments, job, len(rows), out, remove_unused_columns=False),
        rows=rows,
        preference=preference,
        pad_id=pad_id,
        layout=layout,
    )
    [trainer.add_callback(callback) for callback in (StepCount(progress), *trackers(job))]
    resume = newest(job, out)
    if preference.needs_reference:
        trainer.add_callback(VerifyReference(trainer, what["precision"], job["seed"], out, resume))
    trainer.add_callback(Checkpoints(out, job["how"]["checkpoint_steps"], resume))
    trainer.train(resume_from_checkpoint=resume and str(resume))
    keep(trainer, tokenizer, job, out)
    part()
    if not trainer.is_world_process_zero():
        return None
    steps = write_steps(trainer, out / "steps.parquet")
    write_speed(steps, out / "speed.parquet")
    return summary(steps, len(rows), **counts) | {"layout": layout}


if __name__ == "__main__":
    run(main)
