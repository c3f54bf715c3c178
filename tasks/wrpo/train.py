"""Program: preference optimisation of one model on triples (WRPO). `python -m tasks.wrpo.train JOB OUT`.

Reads a model folder and Parquet files of PREFERENCE_RECORD; leaves `model/` and `steps.parquet`.
"""

from pathlib import Path

import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, TrainingArguments

from infra.errors import BadInput
from tasks.adapters import adapted
from tasks.loading import load_model, load_tokenizer
from tasks.program import Progress, run
from tasks.records import PREFERENCE_RECORD
from tasks.resume import Checkpoints, newest
from tasks.tokens import fit, prompt_ids, response_ids
from tasks.trainer import StepCount, arguments, enough_memory, finished, read, save, summary
from tasks.wrpo.preference import from_job
from tasks.wrpo.trainer import RESPONSES, WrpoTrainer, write_steps


def main(job: dict, out: Path, progress: Progress) -> dict:
    what = job["what"]
    preference = from_job(what, job["seed"])
    torch.set_num_threads(job["threads"])
    model, tokenizer = load_model(AutoModelForCausalLM, job["model"], torch.float32), load_tokenizer(job["model"])
    needed = pa.schema([PREFERENCE_RECORD.field(name) for name in ("prompt_id", "messages", *preference.roles)])
    rows, truncated = encode(read("pairs", job["pairs"], needed), tokenizer, what["max_length"], preference.roles)
    trainer = WrpoTrainer(
        model=adapted(model, what.get("lora"), job["seed"]),
        args=arguments(TrainingArguments, job, len(rows), out, remove_unused_columns=False),
        rows=rows,
        preference=preference,
        pad_id=tokenizer.pad_token_id or 0,  # masked: never attended to, never a label
        layout=job["how"]["layout"],
    )
    if trainer.is_world_process_zero():
        trainer.add_callback(StepCount(progress))
    if preference.needs_reference:
        tell = progress if trainer.is_world_process_zero() else lambda *counted: None
        trainer.store_reference(lambda done, total: tell(done, total, "reference rows"))
    resume = newest(job, out)
    trainer.add_callback(Checkpoints(out, job["how"]["checkpoint_steps"], resume))
    with enough_memory(job):
        trainer.train(resume_from_checkpoint=resume and str(resume))
    if trainer.is_world_process_zero():
        save(finished(trainer.model, what["precision"]), tokenizer, Path(job["model"]), out / "model")
    steps = write_steps(trainer, out / "steps.parquet")
    return summary(steps, len(rows), truncated=truncated) | {"layout": trainer.layout}


def encode(
    records: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int, roles: tuple[str, ...] = RESPONSES
) -> tuple[list[dict], int]:
    """Rows of token tensors, and how many responses were cut."""
    rows, truncated = [], 0
    for record in records:
        prompt = prompt_ids(tokenizer, record["messages"])
        if missing := [role for role in roles if record[role] is None]:
            raise BadInput(f"prompt {record['prompt_id']}: has no {missing[0]}, which the objective reads")
        responses = [response_ids(tokenizer, record[role]) for role in roles]
        responses, cut = fit(prompt, responses, max_length, record["prompt_id"])
        truncated += cut
        ids = dict(zip(("prompt", *roles), [prompt, *responses], strict=True))
        tensors = {name: torch.tensor(value, dtype=torch.int32) for name, value in ids.items()}
        rows.append({"prompt_id": record["prompt_id"]} | tensors)
    return rows, truncated


if __name__ == "__main__":
    run(main)
