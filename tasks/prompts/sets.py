"""Several sets of prompts, or a ready selection of them, as a recipe says it; and the benchmarks that they must not hold."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from infra.digests import files_digest
from infra.errors import BadInput
from infra.inputs import local_files
from tasks.prompts.identity import (
    NAME,
    BenchmarkIdentity,
    Choosing,
    Deciding,
    DecontaminationIdentity,
    NearDuplicates,
    SelectionIdentity,
    SetIdentity,
)
from tasks.prompts.reading import of_one_kind, raw_rows
from tasks.prompts.sources import FilesAt, HubSet, PromptFile, Skills
from tasks.stage import Exact

SELECTIONS = Path(__file__).with_name("selections")


class PromptSet(Choosing):
    """One of several sets: where it is and what is taken of it."""

    source: Annotated[PromptFile | HubSet, Field(discriminator="kind")]
    licence: str = Field("", description="of the set, as its source states it: stands in the card of an export")

    def resolve(self, field: str) -> SetIdentity:
        kept = {name: getattr(self, name) for name in Choosing.model_fields}
        return SetIdentity(**kept, source=self.source.identity(f"{field}.source"))


class Benchmark(Exact):
    """A file, or several, of benchmark items that training must not see."""

    name: str = Field(pattern=NAME)
    path: str = Field(description="JSONL or Parquet: a path or a URL, of a file, of a folder, or a pattern")
    text: str = Field(description="the column with the item's text, or with its turns")
    id: str = Field("", description="the column with its id; else its row number")

    def resolve(self, field: str) -> BenchmarkIdentity:
        files = of_one_kind(f"{field}.path", local_files(f"{field}.path", self.path))
        for file in files:
            _, first = next(raw_rows(file), (0, None))
            for name in filter(None, (self.text, self.id)):
                if not isinstance(first, dict) or name not in first:
                    where = repr(self.path) if len(files) == 1 else file
                    raise BadInput(f"{field}: the first row of {where} has no column {name!r}")
        return BenchmarkIdentity(name=self.name, sha256=files_digest(files), text=self.text, id=self.id)


class Decontamination(Deciding):
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)

    def resolve(self, field: str) -> DecontaminationIdentity:
        kept = {name: getattr(self, name) for name in Deciding.model_fields}
        found = tuple(one.resolve(f"{field}.benchmarks.{one.name}") for one in self.benchmarks)
        return DecontaminationIdentity(**kept, benchmarks=found)


class PromptSets(Exact):
    """Several sets, in order: of equal prompts the first set has it."""

    kind: Literal["sets"]
    sets: tuple[PromptSet, ...] = Field(min_length=1)
    near_duplicates: NearDuplicates | None = None
    decontamination: Decontamination | None = None

    @model_validator(mode="after")
    def distinct(self) -> "PromptSets":
        benchmarks = self.decontamination.benchmarks if self.decontamination else ()
        for names in ([one.name for one in self.sets], [one.name for one in benchmarks]):
            if len(names) > len(set(names)):
                raise ValueError(f"the name {max(names, key=names.count)!r} is taken twice")
        return self

    def resolve(self, field: str) -> dict:
        sets = tuple(one.resolve(f"{field}.sets.{one.name}") for one in self.sets)
        checked = self.decontamination and self.decontamination.resolve(f"{field}.decontamination")
        where = {one.name: one.source.path for one in self.sets if isinstance(one.source, PromptFile)}
        against = {one.name: one.path for one in self.decontamination.benchmarks} if self.decontamination else {}
        what = SelectionIdentity(kind="sets", sets=sets, near_duplicates=self.near_duplicates, decontamination=checked)
        return {"what": what, "how": FilesAt(sets=where, benchmarks=against)}


class ReadySelection(Exact):
    """A selection that is shipped: the sets of a paper. Its revisions are for you to pin."""

    kind: Literal["selection"]
    name: str
    revisions: dict[str, str] = Field({}, description="set -> commit of its data set")
    only: tuple[str, ...] = Field((), description="these of its sets; none named: all")
    near_duplicates: NearDuplicates | None = None
    decontamination: Decontamination | None = None

    @model_validator(mode="after")
    def known(self) -> "ReadySelection":
        shipped = sorted(file.stem for file in SELECTIONS.glob("*.toml"))
        if self.name not in shipped:
            raise ValueError(f"there is no selection {self.name!r} (there are {', '.join(shipped)})")
        names = [one["name"] for one in self.values()["sets"]]
        for name in (*self.revisions, *self.only):
            if name not in names:
                raise ValueError(f"selection {self.name!r} has no set {name!r} (it has {', '.join(names)})")
        return self

    def values(self) -> dict:
        return tomllib.loads((SELECTIONS / f"{self.name}.toml").read_text(encoding="utf-8"))

    def sets(self) -> PromptSets:
        values = self.values()
        values["sets"] = [one for one in values["sets"] if not self.only or one["name"] in self.only]
        for one in values["sets"]:
            one["source"]["revision"] = self.revisions.get(one["name"], "")
        chosen = {"near_duplicates": self.near_duplicates, "decontamination": self.decontamination}
        return PromptSets(kind="sets", **values | {name: value for name, value in chosen.items() if value})

    def resolve(self, field: str) -> dict:
        chosen = self.sets()
        for one in chosen.sets:
            revision = one.source.revision
            if not revision:
                raise BadInput(
                    f"{field}.revisions.{one.name}: pin the commit of data set {one.source.id} that you mean "
                    "(40 hexadecimal digits)"
                )
        return chosen.resolve(field)


PromptSource = Annotated[Skills | PromptFile | HubSet | PromptSets | ReadySelection, Field(discriminator="kind")]
