"""Recipe settings: several sets of prompts or a shipped selection, and the benchmarks that prompts must not contain."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import Field, model_validator

from infra.digests import files_digest
from infra.errors import BadInput
from infra.inputs import local_files
from tasks.prompts.identity import (
    NAME,
    BenchmarkIdentity,
    Deciding,
    DecontaminationIdentity,
    NearDuplicates,
    SelectionIdentity,
    SetChoice,
    SetIdentity,
)
from tasks.prompts.reading import of_one_kind, raw_rows
from tasks.prompts.sources import FilesAt, HubSet, PromptFile, Skills
from tasks.stage import Exact

SELECTIONS = Path(__file__).with_name("selections")


class PromptSet(SetChoice):
    """One of several sets: its source and the choice of prompts from it."""

    source: Annotated[PromptFile | HubSet, Field(discriminator="kind")]
    licence: str = Field(
        default="", description="licence of the set, as its source states it; the card of an export shows it"
    )

    def resolve(self, field: str) -> SetIdentity:
        kept = {name: getattr(self, name) for name in SetChoice.model_fields}
        return SetIdentity(**kept, source=self.source.identity(f"{field}.source"))


class BenchmarkItems(Exact):
    """One or more files of benchmark items that must not be in the training data."""

    name: str = Field(pattern=NAME)
    path: str = Field(description="JSONL or Parquet: a path or a URL, of a file, of a folder, or a pattern")
    text: str = Field(description="the column with the item's text, or with the list of its turns")
    id: str = Field(default="", description="the column with the item's id; default: its row number")

    def resolve(self, field: str) -> BenchmarkIdentity:
        files = of_one_kind(f"{field}.path", local_files(f"{field}.path", self.path))
        for file in files:
            _, first = next(raw_rows(file), (0, None))
            for name in filter(None, (self.text, self.id)):
                if not isinstance(first, dict) or name not in first:
                    origin = repr(self.path) if len(files) == 1 else file
                    raise BadInput(f"{field}: the first row of {origin} has no column {name!r}")
        return BenchmarkIdentity(name=self.name, sha256=files_digest(files), text=self.text, id=self.id)


class Decontamination(Deciding):
    benchmarks: tuple[BenchmarkItems, ...] = Field(min_length=1)

    def resolve(self, field: str) -> DecontaminationIdentity:
        kept = {name: getattr(self, name) for name in Deciding.model_fields}
        found = tuple(benchmark.resolve(f"{field}.benchmarks.{benchmark.name}") for benchmark in self.benchmarks)
        return DecontaminationIdentity(**kept, benchmarks=found)


class PromptSets(Exact):
    """Several sets, in order: if sets share a prompt, it belongs to the first of them."""

    kind: Literal["sets"]
    sets: tuple[PromptSet, ...] = Field(min_length=1)
    near_duplicates: NearDuplicates | None = None
    decontamination: Decontamination | None = None

    @model_validator(mode="after")
    def distinct(self) -> "PromptSets":
        benchmarks = self.decontamination.benchmarks if self.decontamination else ()
        for names in ([each.name for each in self.sets], [each.name for each in benchmarks]):
            if len(names) > len(set(names)):
                raise ValueError(f"the name {max(names, key=names.count)!r} is used twice")
        return self

    def resolve(self, field: str) -> dict:
        sets = tuple(each.resolve(f"{field}.sets.{each.name}") for each in self.sets)
        checked = self.decontamination and self.decontamination.resolve(f"{field}.decontamination")
        set_paths = {each.name: each.source.path for each in self.sets if isinstance(each.source, PromptFile)}
        benchmarks = self.decontamination.benchmarks if self.decontamination else ()
        benchmark_paths = {benchmark.name: benchmark.path for benchmark in benchmarks}
        what = SelectionIdentity(kind="sets", sets=sets, near_duplicates=self.near_duplicates, decontamination=checked)
        return {"what": what, "how": FilesAt(sets=set_paths, benchmarks=benchmark_paths)}


class ReadySelection(Exact):
    """A shipped selection: the sets of a paper. The user must pin the revisions."""

    kind: Literal["selection"]
    name: str
    revisions: dict[str, str] = Field(default={}, description="name of the set -> commit of its data set")
    only: tuple[str, ...] = Field(default=(), description="use only these sets; empty: all sets")
    near_duplicates: NearDuplicates | None = None
    decontamination: Decontamination | None = None

    @model_validator(mode="after")
    def known(self) -> "ReadySelection":
        shipped = sorted(file.stem for file in SELECTIONS.glob("*.toml"))
        if self.name not in shipped:
            raise ValueError(f"there is no selection {self.name!r}; the selections are {', '.join(shipped)}")
        names = [each["name"] for each in self.values()["sets"]]
        for name in (*self.revisions, *self.only):
            if name not in names:
                raise ValueError(f"selection {self.name!r} has no set {name!r}; its sets are {', '.join(names)}")
        return self

    def values(self) -> dict:
        return tomllib.loads((SELECTIONS / f"{self.name}.toml").read_text(encoding="utf-8"))

    def sets(self) -> PromptSets:
        values = self.values()
        values["sets"] = [each for each in values["sets"] if not self.only or each["name"] in self.only]
        for each in values["sets"]:
            each["source"]["revision"] = self.revisions.get(each["name"], "")
        chosen = {"near_duplicates": self.near_duplicates, "decontamination": self.decontamination}
        return PromptSets(kind="sets", **values | {name: value for name, value in chosen.items() if value})

    def resolve(self, field: str) -> dict:
        chosen = self.sets()
        for each in chosen.sets:
            source = cast(HubSet, each.source)  # shipped selections name no files
            if not source.revision:
                raise BadInput(
                    f"{field}.revisions.{each.name}: pin the commit of data set {source.id} (40 hexadecimal digits)"
                )
        return chosen.resolve(field)


PromptSource = Annotated[Skills | PromptFile | HubSet | PromptSets | ReadySelection, Field(discriminator="kind")]
