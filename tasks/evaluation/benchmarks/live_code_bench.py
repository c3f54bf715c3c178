"""LiveCodeBench, code generation (arXiv 2403.07974): its problems as prompts, with their cases as gold.

The layout is that of `lcb_runner/benchmarks/code_generation.py` in LiveCodeBench/LiveCodeBench at commit 28fef95. The cases keep
the authors' form; the checks read it and compare outputs by the authors' rules.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from infra.errors import BadInput
from tasks.evaluation.benchmarks.coding_files import DATE, identify_files
from tasks.stage import Exact

CASES = ("public_test_cases", "private_test_cases", "metadata")
SYSTEM = "You are an expert Python programmer. You solve the given problem with a correct Python program."
ON_INPUT = (
    "Write a Python program that reads the input from standard input and writes the answer to standard output. Put the whole "
    "program into one ```python block."
)
ON_FUNCTION = (
    "Complete this code, and put the whole program into one ```python block.\n\n```python\n{starter_code}\n```"
)


class LiveCodeBench(Exact):
    """LiveCodeBench's problems in a folder, as livecodebench/code_generation_lite publishes them."""

    suite: Literal["livecodebench"]
    path: str = Field(description="a folder with test.jsonl, test2.jsonl and so on; use those of the wanted release")
    first: str = Field(default="", pattern=f"{DATE}|^$", description="use contests since this date")
    last: str = Field(default="", pattern=f"{DATE}|^$", description="use contests until this date")
    system: str = Field(default=SYSTEM, description="the system message; empty: no system message")
    on_input: str = Field(default=ON_INPUT, description="follows a problem whose program reads standard input")
    on_function: str = Field(
        default=ON_FUNCTION, description="follows a problem whose program is a function; {starter_code} is replaced"
    )

    def resolve(self, field: str) -> dict:
        folder = Path(self.path)
        files = sorted(folder.glob("*.jsonl"))
        if not files:
            raise BadInput(
                f"{field}.path: livecodebench needs test*.jsonl in {self.path!r}: the files of the data set "
                "livecodebench/code_generation_lite"
            )
        options = {name: getattr(self, name) for name in ("first", "last", "system", "on_input", "on_function")}
        return identify_files(folder, files, self.suite, **options)


def read_live_code_bench(rows: Iterable[dict], options: dict[str, str]) -> Iterator[dict]:
    for row in rows:
        if is_in_window(row["contest_date"][:10], options["first"], options["last"]):
            gold = {name: row[name] for name in CASES}
            yield {"messages": make_messages(row, options), "category": "suite", "gold": json.dumps(gold)}


def is_in_window(day: str, first: str, last: str) -> bool:
    return first <= day and (not last or day <= last)


def make_messages(row: dict, options: dict[str, str]) -> list[dict[str, str]]:
    code = row.get("starter_code") or ""
    instruction = options["on_function"].replace("{starter_code}", code) if code else options["on_input"]
    user = {"role": "user", "content": f"{row['question_content']}\n\n{instruction}"}
    return [{"role": "system", "content": options["system"]}, user] if options["system"] else [user]
