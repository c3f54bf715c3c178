"""Recipe settings of a single source of prompts. `resolve` returns its identity, which is hashed, and its location."""

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
    """The paths of a selection's files: of its sets and of its benchmarks, by name."""

    sets: dict[str, str] = Field(default={})
    benchmarks: dict[str, str] = Field(default={})


class Skills(What):
    """The demo's task: puzzles over letters, with answers that a program can check."""

    kind: Literal["skills"]
    count: int = Field(gt=0, le=20_000, description="number of prompts, with an equal share for each skill")
    seed: Seed = Field(description="seed of the puzzles; default: derived from the recipe's seed")

    def resolve(self, field: str) -> dict:
        return {"what": self}


class PromptFile(Exact):
    """A JSONL or Parquet file of prompts, or several files: a folder or a pattern."""

    kind: Literal["file"]
    path: str = Field(description="JSONL or Parquet: a path or a URL, of a file, of a folder, or s3://bucket/*.parquet")
    columns: Columns = Columns()
    bad_rows: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="for rows that are not prompts. refuse: the run fails; drop: they are dropped, counted and listed",
    )
    sha256: str = Field(
        default="", pattern="^([0-9a-f]{64})?$", description="expected digest of the content; default: no check"
    )

    def resolve(self, field: str) -> dict:
        return {"what": self.identity(field), "how": FilesAt(sets={"prompts": self.path})}

    def identity(self, field: str) -> FileIdentity:
        files = of_one_kind(f"{field}.path", local_files(f"{field}.path", self.path))
        begins = [next(read_prompts([file], self.columns, drop_bad=self.bad_rows == "drop"), None) for file in files]
        if not any(begins):
            raise BadInput(f"{field}.path: there are no prompts in {self.path!r}")
        found = files_digest(files)
        if self.sha256 not in ("", found):
            raise BadInput(f"{field}.sha256: expected {self.sha256[:12]}…, but {self.path} has {found[:12]}…")
        return FileIdentity(kind="file", sha256=found, columns=self.columns, bad_rows=self.bad_rows)


class HubSet(Exact):
    """A data set on a hub, at a pinned revision."""

    kind: Literal["hub"]
    id: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
    revision: str = Field(default="", description="the commit (40 hexadecimal digits), not a branch")
    config: str = ""
    split: str = "train"
    files: tuple[str, ...] = Field(
        default=(), description="use only these files of the repository, e.g. data/train_1M-*.parquet"
    )
    columns: Columns = Columns()
    bad_rows: Literal["refuse", "drop"] = "refuse"

    @model_validator(mode="after")
    def pinned(self) -> "HubSet":
        if self.revision and not is_commit(self.revision):
            raise ValueError(f"revision: expected a 40-digit commit, got {self.revision!r}")
        return self

    def resolve(self, field: str) -> dict:
        return {"what": self.identity(field)}

    def identity(self, field: str) -> HubIdentity:
        if not self.revision:
            raise BadInput(f"{field}.revision: pin the commit of data set {self.id} (40 hexadecimal digits)")
        if Path(self.id).exists():  # the library would load the folder instead of the data set
            raise BadInput(
                f"{field}.id: the working directory has a folder {self.id!r}, which would be read instead of the"
                " data set; rename it"
            )
        return HubIdentity(**self.model_dump())


def is_commit(revision: str) -> bool:
    return len(revision) == 40 and not set(revision) - set("0123456789abcdef")
