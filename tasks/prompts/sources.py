"""A single source of prompts, as a recipe says it. `resolve` turns it into what is hashed and where the bytes lie."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from infra.digests import files_digest
from infra.errors import BadInput
from infra.inputs import local_files
from tasks.prompts.columns import Columns
from tasks.prompts.identity import FileIdentity, HubIdentity
from tasks.prompts.reading import of_one_kind, read_prompts
from tasks.stage import Exact, How, Seed, What


class FilesAt(How):
    """Where the files of a selection lie: of its sets and of its benchmarks, by name."""

    sets: dict[str, str] = Field({})
    benchmarks: dict[str, str] = Field({})


class Skills(What):
    """Puzzles over letters whose answers a program can check: the demo's task."""

    kind: Literal["skills"]
    count: int = Field(gt=0, le=20_000, description="prompts in all, the skills in equal shares")
    seed: Seed = Field(description="which puzzles; set from the recipe's seed when left out of it")

    def resolve(self, field: str) -> dict:
        return {"what": self}


class PromptFile(Exact):
    """A JSONL or Parquet file of prompts, or several as one: the files of a folder, or those that a pattern names."""

    kind: Literal["file"]
    path: str = Field(description="JSONL or Parquet: a path or a URL, of a file, of a folder, or s3://bucket/*.parquet")
    columns: Columns = Columns()
    bad_rows: Literal["refuse", "drop"] = Field("refuse", description="drop: counts and lists rows that are no prompts")
    sha256: str = Field("", pattern="^([0-9a-f]{64})?$", description="what must lie there; none: whatever does")

    def resolve(self, field: str) -> dict:
        return {"what": self.identity(field), "how": FilesAt(sets={"prompts": self.path})}

    def identity(self, field: str) -> FileIdentity:
        files = of_one_kind(f"{field}.path", local_files(f"{field}.path", self.path))
        begins = [next(read_prompts([file], self.columns, drop_bad=self.bad_rows == "drop"), None) for file in files]
        if not any(begins):
            raise BadInput(f"{field}.path: {self.path!r} holds no prompts")
        found = files_digest(files)
        if self.sha256 not in ("", found):
            raise BadInput(f"{field}.sha256: {self.sha256[:12]}… was asked for, {self.path} is {found[:12]}…")
        return FileIdentity(kind="file", sha256=found, columns=self.columns, bad_rows=self.bad_rows)


class HubSet(Exact):
    """A data set on a hub, at a pinned revision."""

    kind: Literal["hub"]
    id: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
    revision: str = Field("", description="the commit, 40 hexadecimal digits, not a branch")
    config: str = ""
    split: str = "train"
    files: tuple[str, ...] = Field((), description="of the repository's files only these, e.g. data/train_1M-*.parquet")
    columns: Columns = Columns()
    bad_rows: Literal["refuse", "drop"] = "refuse"

    @model_validator(mode="after")
    def pinned(self) -> "HubSet":
        if self.revision and not is_commit(self.revision):
            raise ValueError(f"revision: a commit has 40 hexadecimal digits, {self.revision!r} is none")
        return self

    def resolve(self, field: str) -> dict:
        return {"what": self.identity(field)}

    def identity(self, field: str) -> HubIdentity:
        if not self.revision:
            raise BadInput(
                f"{field}.revision: pin the commit of data set {self.id} that you mean (40 hexadecimal digits)"
            )
        if Path(self.id).exists():  # the library would take it for the data set
            raise BadInput(f"{field}.id: a folder {self.id!r} lies here and would hide the data set of that name")
        return HubIdentity(**self.model_dump())


def is_commit(revision: str) -> bool:
    return len(revision) == 40 and not set(revision) - set("0123456789abcdef")
