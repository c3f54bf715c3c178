"""Program: preference optimisation of one model on triples (WRPO). `python -m tasks.wrpo.train JOB OUT`.

Reads a model folder and Parquet files of PREFERENCE_RECORD; leaves `model/` and `steps.parquet`.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, TrainingArguments

from infra.errors import BadInput
from tasks.loading import load_model, load_tokenizer
from tasks.program import Progress, run
from tasks.records import PREFERENCE_RECORD
from tasks.tokens import fit, prompt_ids, response_ids
from tasks.trainer import StepCount, arguments, read, save, summary
from tasks.wrpo.trainer import RESPONSES, WrpoTrainer, write_steps


def main(job: dict, out: Path, progress: Progress) -> dict:
    what = job["what"]
    objective = what["objective"]
    if objective["kind"] != "wrpo":
        raise BadInput(f"what.objective.kind: {objective['kind']!r} is not one of: 'wrpo'")
    torch.set_num_threads(job["threads"])
    model, tokenizer = load_model(AutoModelForCausalLM, job["model"], torch.float32), load_tokenizer(job["model"])
    records = read("pairs", job["pairs"], PREFERENCE_RECORD)
    rows, truncated = encode(records, tokenizer, what["max_length"])
    trainer = WrpoTrainer(
        model=model,
        args=arguments(TrainingArguments, job, len(rows), out, remove_unused_columns=False),
        rows=rows,
        beta=objective["beta"],
        alpha=objective["alpha"],
        pad_id=tokenizer.pad_token_id or 0,  # masked: never attended to, never a label
    )
    if trainer.is_world_process_zero():
        trainer.add_callback(StepCount(progress))
        trainer.store_reference(lambda done, total: progress(done, total, "reference rows"))
    else:
        trainer.store_reference()
    trainer.train()
    if trainer.is_world_process_zero():
        save(model, tokenizer, Path(job["model"]), out / "model")
    steps = write_steps(trainer, out / "steps.parquet")
    return summary(steps, len(rows), truncated)


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


if __name__ == "__main__":
    run(main)
