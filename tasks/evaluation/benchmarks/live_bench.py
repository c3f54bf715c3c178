"""LiveBench (arXiv 2406.19314), scored by its authors' code in a separate environment, without a judge.

`open_live_bench` writes the questions of a release as prompts. `score_live_bench` writes `items.parquet`, a model's score of
each question. `measure_live_bench` writes `results.json`: the mean of the tasks in each category, and of the categories.
Coding and instruction following are left out, because their scorers run programs and write files; the results list them.
"""

import json
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from infra.digests import file_digest
from infra.errors import BadInput
from infra.launch import other_environment
from infra.manifest import Manifest
from infra.settings import settings
from tasks.evaluation.benchmarks.item_metrics import AVERAGE, compare_categories, measure_categories
from tasks.evaluation.benchmarks.item_results import ItemResults, write_item_results
from tasks.evaluation.judged.suites.files import read_jsonl_rows
from tasks.execution import Run
from tasks.records import PROMPT, prompt_id
from tasks.rows.pool import write_table
from tasks.stage import Exact, How, What, stage

Manifests = tuple[Manifest, ...]
CATEGORIES = ("math", "reasoning", "language", "data_analysis")
LEFT_OUT = ("coding", "agentic_coding", "instruction_following")


class LiveBenchIdentity(What):
    files: dict[str, str]  # name -> sha256
    release: str


class LiveBenchFolder(How):
    path: str


class LiveBench(Exact):
    """LiveBench's questions in a folder, as its authors' download_questions.py writes them."""

    suite: Literal["livebench"]
    path: str = Field(description="the folder data/live_bench of a checkout: <category>/<task>/question.jsonl")
    release: str = Field(
        default="2024-08-31",
        pattern=r"^\d{4}-\d\d-\d\d$",
        description="use only questions that were released until this date and not removed before it",
    )

    def resolve(self, field: str) -> dict:
        folder = Path(self.path)
        files = {
            file.relative_to(folder).as_posix(): file_digest(file)
            for category in CATEGORIES
            for file in sorted(folder.glob(f"{category}/*/question.jsonl"))
        }
        if absent := [name for name in CATEGORIES if not any(file.startswith(f"{name}/") for file in files)]:
            raise BadInput(
                f"{field}.path: livebench needs {absent[0]}/<task>/question.jsonl in {self.path!r}: the folder data/live_bench "
                "that download_questions.py of LiveBench/LiveBench creates"
            )
        at = LiveBenchFolder(path=str(folder.absolute()))
        return {"what": LiveBenchIdentity(files=files, release=self.release), "how": at}


@stage("livebench questions", version="1")
def open_live_bench(run: Run, what: LiveBenchIdentity, how: LiveBenchFolder) -> None:
    questions = []
    for name, expected in what.files.items():
        file = Path(how.path) / name
        if file_digest(file) != expected:
            raise BadInput(f"{file} changed while the run was being prepared; run it again")
        questions += [row for row in read_jsonl_rows(file) if is_in_release(row, what.release)]
    if not questions:
        raise BadInput(f"release: {how.path} has no question released until {what.release}")
    with (run.folder / "questions.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in questions)
    rows = pd.DataFrame({"messages": [make_live_bench_prompt(row) for row in questions], "category": "suite"})
    rows["prompt_id"] = rows["messages"].map(prompt_id)
    rows = rows.drop_duplicates("prompt_id").sort_values("prompt_id").reindex(columns=PROMPT.names)
    run.count(rows=len(rows), questions=len(questions))
    write_table(run, rows, PROMPT, "prompts.parquet")


def is_in_release(row: dict, release: str) -> bool:
    removed = row.get("livebench_removal_date") or ""
    return row["livebench_release_date"][:10] <= release and (removed == "" or removed[:10] > release)


def make_live_bench_prompt(row: dict) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["turns"][0]}]


@stage("livebench scores", version="1")
def score_live_bench(run: Run, what: What, how: How, questions: Manifests, responses: Manifests) -> None:
    if not (python := settings().livebench_python):
        raise BadInput(
            "FUSE_LIVEBENCH_PYTHON: LiveBench needs a separate environment (pip install -e a checkout of LiveBench/LiveBench, "
            "and pandas with pyarrow); set this variable to its Python"
        )
    questions_asked = read_jsonl_rows(run.file(questions[0], "questions.jsonl"))
    texts = pd.read_parquet(run.file(responses[0], "responses.parquet"), columns=["prompt_id", "sample_index", "text"])
    answers = texts[texts["sample_index"] == 0].set_index("prompt_id")["text"]
    rows = [
        {"question": json.dumps(row), "answer": answers.get(prompt_id(make_live_bench_prompt(row)))}
        for row in questions_asked
    ]
    if unanswered := sum(row["answer"] is None for row in rows):
        raise BadInput(f"{unanswered} of {len(rows)} questions have no answer; LiveBench needs all answers")
    file = run.scratch / "answers.parquet"
    pd.DataFrame(rows).to_parquet(file, index=False)
    program = "tasks.evaluation.benchmarks.live_bench_program"
    run.keep(run.program(program, {"rows": str(file)}, environment=other_environment(python)), "items.parquet")


@stage("livebench results", version="1")
def measure_live_bench(run: Run, what: ItemResults, how: How, items: Manifests) -> None:
    tables = {
        name: pd.read_parquet(run.file(made, "items.parquet")).set_index(["category", "task", "item"])["value"]
        for name, made in zip(what.models, items, strict=True)
    }
    write_item_results(
        run,
        what,
        tables,
        measure_categories,
        compare_categories,
        column=name_live_bench_column,
        left_out=list(LEFT_OUT),
    )


def name_live_bench_column(metric: str) -> str:
    return "average" if metric == AVERAGE else metric
