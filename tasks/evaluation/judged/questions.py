"""Suites as artifacts: `open_suite` leaves a suite's files as published and its questions as prompts; `continue_dialogue`
the second turns, which follow from a model's answers to the first.
"""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Literal

import pandas as pd
from pydantic import Field, model_validator

from infra import hub
from infra.digests import file_digest
from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.evaluation.judged.suites import SUITES
from tasks.evaluation.judged.suites.files import Question
from tasks.execution import Run
from tasks.records import PROMPT, prompt_id
from tasks.rows.pool import write
from tasks.stage import Exact, How, What, stage

Manifests = tuple[Manifest, ...]
Answers = dict[str, tuple[str, ...]]
SILENT = ""  # what a model has said to a prompt that it has no answer to
SuiteName = Literal["alpaca-eval", "arena-hard", "mt-bench", "align-bench"]


class SuiteIdentity(What):
    suite: SuiteName
    files: dict[str, str]  # name -> sha256


class SuiteAt(How):
    path: str
    id: str = ""
    revision: str = ""
    hub: dict[str, str] = Field({})  # name -> the file's place in the data set's repository


class Suite(Exact):
    """A judged benchmark: its files in a folder, or in a data set on a hub, as its authors publish them. They stay out of
    the repository."""

    suite: SuiteName
    path: str = Field("", description="the folder; of what a hub has not")
    sha256: dict[str, str] = Field({}, description="what the files must be, by name; none: whatever lies there")
    id: str = Field("", description="a data set on a hub")
    revision: str = Field("", pattern="^([0-9a-f]{40})?$", description="its commit, not a branch")
    hub: dict[str, str] = Field({}, description="file -> its place in the data set; each with its sha256")

    @model_validator(mode="after")
    def pinned(self) -> "Suite":
        if self.hub and not (self.id and self.revision):
            raise ValueError("hub: needs the data set's id and revision, a commit")
        if unknown := {*self.hub, *self.sha256} - SUITES[self.suite].FILES.keys():
            raise ValueError(f"{self.suite} has no file {min(unknown)!r}, but {', '.join(SUITES[self.suite].FILES)}")
        if open_ones := self.hub.keys() - self.sha256.keys():
            raise ValueError(f"sha256: {min(open_ones)!r} comes from a hub and is not pinned")
        return self

    def resolve(self, field: str) -> dict:
        found = {
            name: self.sha256[name] if name in self.hub else self.lying(name, meaning, field)
            for name, meaning in SUITES[self.suite].FILES.items()
        }
        at = SuiteAt(path=str(Path(self.path).absolute()), id=self.id, revision=self.revision, hub=self.hub)
        return {"what": SuiteIdentity(suite=self.suite, files=found), "how": at}

    def lying(self, name: str, meaning: str, field: str) -> str:
        """The digest of a file of the folder."""
        file = Path(self.path) / name
        if not file.is_file():
            raise BadInput(f"{field}.path: {self.suite} needs {name} in {self.path!r}: {meaning}")
        found = file_digest(file)
        if (expected := self.sha256.get(name, found)) != found:
            raise BadInput(f"{field}.sha256.{name}: {expected[:12]}… was asked for, {file} is {found[:12]}…")
        return found


@stage("suite", version="1")
def open_suite(run: Run, what: SuiteIdentity, how: SuiteAt) -> None:
    for name, expected in what.files.items():
        there = how.hub.get(name)
        file = hub.data_file(how.id, how.revision, there) if there else Path(how.path) / name
        shutil.copyfile(file, run.folder / name)
        if file_digest(run.folder / name) != expected:
            changed = f"is not {expected[:12]}…" if there else "changed while the run was being prepared; run it again"
            raise BadInput(f"{there or file} {changed}")
    questions = SUITES[what.suite].questions(run.folder)
    write_prompts(run, [(one, first_turn(one)) for one in questions])


@stage("second turns", version="1")
def continue_dialogue(run: Run, what: What, how: How, suite: Manifests, responses: Manifests) -> None:
    name = suite[0].what["suite"]
    _, _, questions = read_suite(run, name, suite[0])
    said = texts(run, responses[0])
    asked = [(one, second_turn(one, said.get(prompt_id(first_turn(one)), SILENT))) for one in questions.values()]
    write_prompts(run, asked)


def first_turn(question: Question) -> list[dict[str, str]]:
    return [{"role": "user", "content": question.turns[0]}]


def second_turn(question: Question, answer: str) -> list[dict[str, str]]:
    return [
        *first_turn(question),
        {"role": "assistant", "content": answer},
        {"role": "user", "content": question.turns[1]},
    ]


def write_prompts(run: Run, asked: list[tuple[Question, list[dict[str, str]]]]) -> None:
    rows = pd.DataFrame([{"prompt_id": prompt_id(turns), "messages": turns} for _, turns in asked])
    rows = rows.drop_duplicates("prompt_id").sort_values("prompt_id").reindex(columns=PROMPT.names)
    rows["category"] = "suite"
    run.count(rows=len(rows), questions=len(asked))
    write(run, rows, PROMPT, "prompts.parquet")


def read_suite(run: Run, name: str, suite: Manifest) -> tuple[ModuleType, Path, dict[str, Question]]:
    folder = run.fetch(suite, list(SUITES[name].FILES))
    return SUITES[name], folder, {one.question_id: one for one in SUITES[name].questions(folder)}


def answers_of(run: Run, name: str, suite: Manifest, responses: Manifests) -> Answers:
    """A model's answers to every question, a text per turn; where it has none, because the prompt is too long for it, it has
    said nothing, and loses."""
    _, _, questions = read_suite(run, name, suite)
    said = [texts(run, made) for made in responses]
    found = {}
    for question_id, question in questions.items():
        turns = [said[0].get(prompt_id(first_turn(question)), SILENT)]
        if len(said) > 1:
            turns.append(said[1].get(prompt_id(second_turn(question, turns[0])), SILENT))
        found[question_id] = tuple(turns)
    return found


def texts(run: Run, responses: Manifest) -> dict[str, str]:
    rows = pd.read_parquet(run.file(responses, "responses.parquet"), columns=["prompt_id", "sample_index", "text"])
    rows = rows[rows["sample_index"] == 0]
    return dict(zip(rows["prompt_id"], rows["text"], strict=True))
