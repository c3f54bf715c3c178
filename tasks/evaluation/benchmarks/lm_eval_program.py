"""Program, run in lm-eval's environment: scores a model on each item of some tasks; writes OUT/items.parquet."""

from pathlib import Path

import lm_eval  # a type checker takes the file lm_eval.py beside this one for it
import pandas as pd
import torch
from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]
from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

from infra.errors import BadInput
from tasks.program import Progress, run_program


def main(job: dict, out: Path, progress: Progress) -> dict:
    tasks = TaskManager(include_path=job["path"], include_defaults=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = HFLM(pretrained=job["model"], device=device, batch_size=job["batch_size"])
    rows = []
    for place, wanted in enumerate(job["tasks"]):
        rows += score_task_items(model, tasks, wanted, job["chat"])
        progress(place + 1, len(job["tasks"]), "tasks")
    pd.DataFrame(rows).to_parquet(out / "items.parquet", index=False)
    return {"rows": len(rows), "lm_eval": lm_eval.__version__}  # pyright: ignore[reportAttributeAccessIssue]


def score_task_items(model: HFLM, tasks: TaskManager, wanted: dict, chat: bool) -> list[dict]:
    results = lm_eval.simple_evaluate(  # pyright: ignore[reportAttributeAccessIssue]
        model=model,
        tasks=[wanted["task"]],
        num_fewshot=wanted["shots"],
        task_manager=tasks,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat and wanted["shots"] > 0,
        bootstrap_iters=0,  # intervals are computed later, from the items
        log_samples=True,
    )
    return [
        {"task": wanted["task"], "item": f"{name}/{sample['doc_id']}", "value": read_item_score(sample, wanted)}
        for name, samples in results["samples"].items()
        for sample in samples
        if sample["filter"] == wanted["filter"]
    ]


def read_item_score(sample: dict, wanted: dict) -> float:
    if wanted["metric"] not in sample["metrics"]:
        raise BadInput(
            f"tasks.{wanted['task']}.metric: unknown metric {wanted['metric']!r}; known metrics are"
            f" {', '.join(sample['metrics'])}"
        )
    return float(sample[wanted["metric"]])


if __name__ == "__main__":
    run_program(main)
