"""Coding suites. `open_coding_suite` writes the questions as prompts; their gold holds the tests that the checks run.
`measure_coding_tasks` writes `results.json` for a suite of several tasks: the mean of the tasks' shares of right programs.
"""

from collections.abc import Callable, Iterable, Iterator

import pandas as pd

from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.evaluation.benchmarks import live_bench_coding
from tasks.evaluation.benchmarks.coding_files import CodingFolder, CodingQuestions, read_identified_rows
from tasks.evaluation.benchmarks.eval_plus import read_eval_plus
from tasks.evaluation.benchmarks.item_metrics import compare_categories, measure_categories
from tasks.evaluation.benchmarks.item_results import ItemResults, write_item_results
from tasks.evaluation.benchmarks.live_bench import name_live_bench_column
from tasks.evaluation.benchmarks.live_code_bench import read_live_code_bench
from tasks.evaluation.checked import join_checked_answers
from tasks.evaluation.verdicts import find_obstacle
from tasks.execution import Run
from tasks.records import PROMPT, prompt_id
from tasks.rows.pool import write_table
from tasks.stage import How, stage

Manifests = tuple[Manifest, ...]
READERS: dict[str, Callable[[Iterable[dict], dict[str, str]], Iterator[dict]]] = {
    "livecodebench": read_live_code_bench,
    "livebench-coding": live_bench_coding.read_live_bench_coding,
    "evalplus": read_eval_plus,
}


@stage("coding questions", version="1")
def open_coding_suite(run: Run, what: CodingQuestions, how: CodingFolder) -> None:
    found = list(READERS[what.layout](read_identified_rows(what, how), what.options))
    if not found:
        raise BadInput(f"{what.layout}: {how.path} has no question for these settings")
    rows = pd.DataFrame(found)
    rows["prompt_id"] = rows["messages"].map(prompt_id)
    rows = rows.drop_duplicates("prompt_id").sort_values("prompt_id").reindex(columns=PROMPT.names)
    run.count(rows=len(rows), questions=len(found))
    write_table(run, rows, PROMPT, "prompts.parquet")


@stage("coding results", version="1")
def measure_coding_tasks(
    run: Run, what: ItemResults, how: How, prompts: Manifests, responses: Manifests, checks: Manifests
) -> None:
    """An answer that is missing or could not be checked is not right."""
    golds = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "gold", "category"])
    made = zip(what.models, responses, checks, strict=True)
    answers = {name: join_checked_answers(run, name, responded, checked, golds) for name, responded, checked in made}
    if obstacle := find_obstacle(list(answers.values())):
        raise BadInput(f"{what.suite}: there is no accuracy: {obstacle}")
    tables = {name: index_by_task(rows) for name, rows in answers.items()}
    write_item_results(
        run,
        what,
        tables,
        measure_categories,
        compare_categories,
        column=name_live_bench_column,
        left_out=list(live_bench_coding.LEFT_OUT),
    )


def index_by_task(rows: pd.DataFrame) -> pd.Series:
    rows = rows.assign(task=rows["category"], category="coding", value=(rows["check"] == 1).astype(float))
    return rows.rename(columns={"prompt_id": "item"}).set_index(["category", "task", "item"])["value"]
