"""Judged suites as artifacts. `open_suite` writes the published files and the questions as prompts; `continue_dialogue`
writes the prompts of the second turns, which contain a model's answers to the first.
"""

import shutil
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field, model_validator

from infra import hub
from infra.digests import file_digest
from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.evaluation.judged.suites import SUITES
from tasks.evaluation.judged.suites.files import Question
from tasks.evaluation.judged.suites.judged_suite import JudgedSuite
from tasks.execution import Run
from tasks.records import PROMPT, prompt_id
from tasks.rows.pool import write_table
from tasks.stage import Exact, How, What, stage

Manifests = tuple[Manifest, ...]
Answers = dict[str, tuple[str, ...]]
NO_ANSWER = ""  # the text of a missing answer; it is degenerate, so it loses
SuiteName = Literal["alpaca-eval", "arena-hard", "arena-hard-v2.0", "mt-bench", "align-bench"]


class SuiteIdentity(What):
    suite: SuiteName
    files: dict[str, str]  # name -> sha256


class SuiteFolder(How):
    path: str
    id: str = ""
    revision: str = ""
    hub: dict[str, str] = Field(default={})  # name -> the file's path in the data set's repository


class PublishedSuite(Exact):
    """A judged benchmark with its published files, in a folder or in a data set on a hub."""

    suite: SuiteName
    path: str = Field(default="", description="the folder of the files that are not on a hub")
    sha256: dict[str, str] = Field(
        default={}, description="expected digests by file name; a missing entry accepts any content"
    )
    id: str = Field(default="", description="a data set on a hub")
    revision: str = Field(default="", pattern="^([0-9a-f]{40})?$", description="commit of the data set, not a branch")
    hub: dict[str, str] = Field(default={}, description="file name -> path in the data set; each needs a sha256")

    @model_validator(mode="after")
    def pinned(self) -> "PublishedSuite":
        if self.hub and not (self.id and self.revision):
            raise ValueError("hub: needs the data set's id and revision (a commit)")
        names = [*SUITES[self.suite].files, *SUITES[self.suite].optional]
        if unknown := {*self.hub, *self.sha256}.difference(names):
            raise ValueError(f"{self.suite} has no file {min(unknown)!r}; its files are {', '.join(names)}")
        if unpinned := self.hub.keys() - self.sha256.keys():
            raise ValueError(f"sha256: {min(unpinned)!r} comes from a hub; add its expected sha256")
        return self

    def resolve(self, field: str) -> dict:
        rules = SUITES[self.suite]
        origins = rules.files | rules.optional
        beside = [name for name in rules.optional if self.path and (Path(self.path) / name).is_file()]
        digests = {
            name: self.sha256[name] if name in self.hub else self.digest_in_folder(name, origins[name], field)
            for name in rules.names({*self.hub, *self.sha256, *beside})
        }
        at = SuiteFolder(path=str(Path(self.path).absolute()), id=self.id, revision=self.revision, hub=self.hub)
        return {"what": SuiteIdentity(suite=self.suite, files=digests), "how": at}

    def digest_in_folder(self, name: str, origin: str, field: str) -> str:
        file = Path(self.path) / name
        if not file.is_file():
            raise BadInput(f"{field}.path: {self.suite} needs {name} in {self.path!r}: {origin}")
        digest = file_digest(file)
        if (expected := self.sha256.get(name, digest)) != digest:
            raise BadInput(f"{field}.sha256.{name}: expected {expected[:12]}…, but {file} has {digest[:12]}…")
        return digest


@stage("suite", version="1")
def open_suite(run: Run, what: SuiteIdentity, how: SuiteFolder) -> None:
    for name, expected in what.files.items():
        hub_path = how.hub.get(name)
        file = hub.data_file(how.id, how.revision, hub_path) if hub_path else Path(how.path) / name
        shutil.copyfile(file, run.folder / name)
        if file_digest(run.folder / name) != expected:
            changed = (
                f"has another sha256 than {expected[:12]}…"
                if hub_path
                else "changed while the run was being prepared; run it again"
            )
            raise BadInput(f"{hub_path or file} {changed}")
    questions = SUITES[what.suite].read_questions(run.folder)
    write_suite_prompts(run, [(question, make_first_turn(question)) for question in questions])


@stage("second turns", version="1")
def continue_dialogue(run: Run, what: What, how: How, suite: Manifests, responses: Manifests) -> None:
    name = suite[0].what["suite"]
    _, _, questions = read_suite(run, name, suite[0])
    answers = read_response_texts(run, responses[0])
    prompts = []
    for question in questions.values():
        answer = answers.get(prompt_id(make_first_turn(question)), NO_ANSWER)
        prompts.append((question, make_second_turn(question, answer)))
    write_suite_prompts(run, prompts)


def make_first_turn(question: Question) -> list[dict[str, str]]:
    return [{"role": "user", "content": question.turns[0]}]


def make_second_turn(question: Question, answer: str) -> list[dict[str, str]]:
    return [
        *make_first_turn(question),
        {"role": "assistant", "content": answer},
        {"role": "user", "content": question.turns[1]},
    ]


def write_suite_prompts(run: Run, prompts: list[tuple[Question, list[dict[str, str]]]]) -> None:
    rows = pd.DataFrame([{"prompt_id": prompt_id(turns), "messages": turns} for _, turns in prompts])
    rows = rows.drop_duplicates("prompt_id").sort_values("prompt_id").reindex(columns=PROMPT.names)
    rows["category"] = "suite"
    run.count(rows=len(rows), questions=len(prompts))
    write_table(run, rows, PROMPT, "prompts.parquet")


def read_suite(run: Run, name: str, suite: Manifest) -> tuple[JudgedSuite, Path, dict[str, Question]]:
    """The suite's rules, the folder of its files, and its questions by id."""
    rules = SUITES[name]
    folder = run.fetch(suite, rules.names(suite.what["files"]))
    return rules, folder, {question.question_id: question for question in rules.read_questions(folder)}


def read_suite_answers(run: Run, name: str, suite: Manifest, responses: Manifests) -> Answers:
    """A model's answers to each question, one text per turn. A missing answer (the prompt was too long for the model) is empty
    and loses."""
    _, _, questions = read_suite(run, name, suite)
    by_turn = [read_response_texts(run, made) for made in responses]
    answers = {}
    for question_id, question in questions.items():
        turns = [by_turn[0].get(prompt_id(make_first_turn(question)), NO_ANSWER)]
        if len(by_turn) > 1:
            turns.append(by_turn[1].get(prompt_id(make_second_turn(question, turns[0])), NO_ANSWER))
        answers[question_id] = tuple(turns)
    return answers


def read_response_texts(run: Run, responses: Manifest) -> dict[str, str]:
    """The first response to each prompt, by prompt id."""
    rows = pd.read_parquet(run.file(responses, "responses.parquet"), columns=["prompt_id", "sample_index", "text"])
    rows = rows[rows["sample_index"] == 0]
    return dict(zip(rows["prompt_id"], rows["text"], strict=True))
