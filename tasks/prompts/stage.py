"""Prompt selection: leaves `prompts.parquet`, unique prompts sorted by id."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.digests import file_digest
from infra.errors import BadInput
from tasks import skills
from tasks.execution import Run
from tasks.pool import write
from tasks.records import PROMPT, prompt_id
from tasks.stage import How, Seed, What, stage


class Skills(What):
    """Puzzles over letters whose answers a program can check: the demo's task."""

    kind: Literal["skills"]
    count: int = Field(gt=0, le=20_000, description="prompts in all, the skills in equal shares")
    seed: Seed = Field(description="which puzzles; set from the recipe's seed when left out of it")

    def resolve(self, field: str) -> dict:
        return {"what": self}


class FileIdentity(What):
    """A file of prompts is what stands in it, wherever it lies."""

    kind: Literal["file"]
    sha256: str


class FileAt(How):
    path: str


class PromptFile(BaseModel):
    """A JSONL or Parquet file whose rows hold `messages` (or `prompt`, a single user turn), and maybe `category`, `gold`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["file"]
    path: str = Field(description="JSONL or Parquet, on this machine")

    def resolve(self, field: str) -> dict:
        file = Path(self.path)
        if not file.is_file():
            raise BadInput(f"{field}.path: there is no file {self.path!r}")
        if next(read_prompts(file), None) is None:
            raise BadInput(f"{field}.path: {self.path!r} holds no prompts")
        return {"what": FileIdentity(kind="file", sha256=file_digest(file)), "how": FileAt(path=str(file.absolute()))}


PromptSource = Annotated[Skills | PromptFile, Field(discriminator="kind")]


class PromptRow(BaseModel):
    """A row of a user's file, before it becomes a prompt."""

    model_config = ConfigDict(extra="ignore", strict=True)

    messages: list[dict[Literal["role", "content"], str]] | None = None
    prompt: str | None = None
    category: str = ""
    gold: str | None = None

    def record(self) -> dict:
        messages = self.messages or [{"role": "user", "content": self.prompt}]
        if messages[-1].get("role") != "user" or not (messages[-1].get("content") or "").strip():
            raise ValueError("the last message must be a user turn with some text")
        return {"prompt_id": prompt_id(messages), "messages": messages, "category": self.category, "gold": self.gold}


@stage("prompt selection", version="1")
def select_prompts(run: Run, what: Skills | FileIdentity, how: How) -> None:
    records = skills.prompts(what.count, what.seed) if isinstance(what, Skills) else read_prompts(Path(how.path))
    if isinstance(what, FileIdentity) and file_digest(Path(how.path)) != what.sha256:
        raise BadInput(f"prompts.path: {how.path!r} changed while the run was being prepared; run it again")
    rows = pd.DataFrame(records)
    unique = rows.drop_duplicates("prompt_id").sort_values("prompt_id")
    run.count(rows=len(unique), dropped_duplicates=len(rows) - len(unique))
    write(run, unique, PROMPT, "prompts.parquet")


def read_prompts(file: Path) -> Iterator[dict]:
    """The file's prompts; the first bad row ends it with its number."""
    for number, row in enumerate(raw_rows(file), 1):
        try:
            yield PromptRow.model_validate(row).record()
        except ValidationError as problem:
            first = problem.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "row"
            raise BadInput(f"{file}, row {number}: {where}: {first['msg']}, not {first['input']!r:.80}") from problem
        except ValueError as problem:
            raise BadInput(f"{file}, row {number}: {problem}") from problem


def raw_rows(file: Path) -> Iterator[dict]:
    if file.suffix == ".parquet":
        try:
            for batch in pq.ParquetFile(file).iter_batches():
                yield from batch.to_pylist()
        except pa.ArrowInvalid as problem:
            raise BadInput(f"{file}: not a Parquet file: {problem}") from problem
        return
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as problem:
                raise BadInput(f"{file}, line {number}: not JSON: {problem}") from problem
