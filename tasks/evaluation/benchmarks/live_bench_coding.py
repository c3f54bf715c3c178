"""LiveBench's coding category: the tasks LCB_generation and coding_completion, as prompts with their cases as gold.

LiveBench scores both by LiveCodeBench's rules (`livebench/process_results/coding/utils.py`). In coding_completion a response
continues the given beginning of the program. Newer coding tasks are left out: their tests need files, processes or containers.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from infra.errors import BadInput
from tasks.evaluation.benchmarks.coding_files import DATE, identify_files
from tasks.evaluation.benchmarks.live_bench import is_in_release, make_live_bench_prompt
from tasks.stage import Exact

TASKS = ("LCB_generation", "coding_completion")
LEFT_OUT = ("code_generation", "code_completion", "agentic_coding")


class LiveBenchCoding(Exact):
    """LiveBench's coding questions in a folder, as its authors' download_questions.py writes them."""

    suite: Literal["livebench-coding"]
    path: str = Field(description="the folder data/live_bench of a checkout: coding/<task>/question.jsonl")
    release: str = Field(
        default="2024-08-31", pattern=DATE, description="use questions released until this date and not removed by then"
    )

    def resolve(self, field: str) -> dict:
        folder = Path(self.path)
        files = [folder / "coding" / task / "question.jsonl" for task in TASKS]
        if absent := [file for file in files if not file.is_file()]:
            raise BadInput(
                f"{field}.path: livebench-coding needs {absent[0].relative_to(folder)} in {self.path!r}: the folder "
                "data/live_bench that download_questions.py of LiveBench/LiveBench creates"
            )
        return identify_files(folder, files, self.suite, release=self.release)


def read_live_bench_coding(rows: Iterable[dict], options: dict[str, str]) -> Iterator[dict]:
    for row in rows:
        if is_in_release(row, options["release"]):
            gold = {
                "public_test_cases": row["public_test_cases"],
                "private_test_cases": row["private_test_cases"],
                "metadata": row["original_json"]["metadata"],
                "partial_solution": row.get("partial_solution") or "",
            }
            messages = make_live_bench_prompt(row)
            yield {"messages": messages, "category": row["task"], "gold": json.dumps(gold)}
