"""Benchmarks through lm-eval: multiple choice and the Open LLM Leaderboard. `run_tasks` writes `items.parquet`, a model's
score of each item; `compare_tasks` writes `results.json`, means with intervals and paired differences.

The tasks are YAML files in the user's folder, with their data beside them, so a run downloads nothing.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import Field

from infra.digests import file_digest
from infra.errors import BadInput
from infra.launch import other_environment
from infra.manifest import Manifest
from infra.settings import settings
from tasks.evaluation.benchmarks.item_metrics import compare_task_scores, measure_tasks
from tasks.evaluation.benchmarks.item_results import ItemResults, write_item_results
from tasks.execution import Run
from tasks.stage import Exact, How, What, stage

Manifests = tuple[Manifest, ...]


class LmEvalTask(What):
    task: str = Field(description="the task's name in its YAML file")
    shots: int = Field(ge=0)
    metric: str = Field(default="acc", description="the metric's name in lm-eval")
    filter: str = Field(default="none", description="the answer filter, for a task with several filters")


# Open LLM Leaderboard v1 with its shots and metrics (its mean of six tasks is Table 7 of the papers); MMLU-Pro as published
PRESETS = {
    "open-llm-leaderboard-v1": (
        LmEvalTask(task="arc_challenge", shots=25, metric="acc_norm"),
        LmEvalTask(task="hellaswag", shots=10, metric="acc_norm"),
        LmEvalTask(task="truthfulqa_mc2", shots=0),
        LmEvalTask(task="mmlu", shots=5),
        LmEvalTask(task="winogrande", shots=5),
        LmEvalTask(task="gsm8k", shots=5, metric="exact_match", filter="strict-match"),
    ),
    "mmlu-pro": (LmEvalTask(task="mmlu_pro", shots=5, metric="exact_match", filter="custom-extract"),),
    "mmlu-redux": (LmEvalTask(task="mmlu_redux_generative", shots=0, metric="exact_match", filter="default"),),
    "gpqa-diamond": (LmEvalTask(task="gpqa_diamond_zeroshot", shots=0),),
}


class LmEvalIdentity(What):
    tasks: tuple[LmEvalTask, ...]
    files: dict[str, str]  # name -> sha256, of the task files and their data
    chat: bool = Field(default=False, description="true: asks questions in the model's chat template")


class LmEvalHow(How):
    path: str = ""
    batch_size: int = Field(default=8, gt=0)

    @property
    def gpus(self) -> int:
        return 1


class LmEvalBenchmark(Exact):
    """Tasks of lm-eval, from a folder."""

    suite: Literal["lm-eval"]
    path: str = Field(description="a folder of lm-eval task files (YAML) and the data files that they name")
    preset: Literal["", "open-llm-leaderboard-v1", "mmlu-pro", "mmlu-redux", "gpqa-diamond"] = ""
    tasks: tuple[LmEvalTask, ...] = ()
    chat: bool = False
    batch_size: int = Field(default=8, gt=0)

    def resolve(self, field: str) -> dict:
        folder, wanted = Path(self.path), (*PRESETS.get(self.preset, ()), *self.tasks)
        if not wanted:
            raise BadInput(f"{field}.tasks: is empty; name a task or choose a preset ({', '.join(PRESETS)})")
        if not folder.is_dir():
            raise BadInput(f"{field}.path: there is no folder {self.path!r}")
        known = {name for file in folder.rglob("*.yaml") for name in read_task_names(file)}
        if missing := [task.task for task in wanted if task.task not in known]:
            raise BadInput(
                f"{field}.path: {self.path!r} has no task {missing[0]!r}: copy its YAML from lm-eval's lm_eval/tasks there, and "
                "set dataset_path and dataset_kwargs.data_files to files beside it"
            )
        files = {
            file.relative_to(folder).as_posix(): file_digest(file)
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        how = LmEvalHow(path=str(folder.absolute()), batch_size=self.batch_size)
        return {"what": LmEvalIdentity(tasks=wanted, files=files, chat=self.chat), "how": how}


def read_task_names(file: Path) -> list[str]:
    """The names of the task and group that a file defines. BaseLoader ignores lm-eval's own YAML tags, such as !function."""
    content = yaml.load(file.read_text(encoding="utf-8"), yaml.BaseLoader)
    return [
        content[key] for key in ("task", "group") if isinstance(content, dict) and isinstance(content.get(key), str)
    ]


@stage("benchmark answers", version="1")
def run_tasks(run: Run, what: LmEvalIdentity, how: LmEvalHow, model: Manifests) -> None:
    for name, expected in what.files.items():
        if file_digest(Path(how.path) / name) != expected:
            raise BadInput(f"{how.path}/{name} changed while the run was being prepared; run it again")
    job = {"model": str(run.model(model[0])), **what.model_dump(mode="json"), **how.model_dump(mode="json")}
    if not (python := settings().harness_python):
        raise BadInput(
            "FUSE_HARNESS_PYTHON: benchmarks need lm-eval in a separate environment (pip install 'lm-eval[hf]==0.4.13'); set "
            "this variable to its Python"
        )
    program = "tasks.evaluation.benchmarks.lm_eval_program"
    run.keep(run.program(program, job, environment=other_environment(python)), "items.parquet")


@stage("benchmark results", version="2")
def compare_tasks(run: Run, what: ItemResults, how: How, items: Manifests) -> None:
    scores = [pd.read_parquet(run.file(made, "items.parquet")) for made in items]
    tables = {name: rows.set_index(["task", "item"])["value"] for name, rows in zip(what.models, scores, strict=True)}
    write_item_results(run, what, tables, measure_tasks, compare_task_scores)
    run.count(items=int(np.mean([len(table) for table in tables.values()])))
