"""Answers from a file: published outputs, with the preference of a published judge where the file has it.

A model with published outputs can be judged without sampling it. Published preferences calibrate the judge.
"""

import json
from pathlib import Path
from typing import Literal

import pandas as pd

from infra.digests import file_digest
from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.evaluation.judged.questions import make_first_turn, read_suite
from tasks.evaluation.judged.suites.files import read_jsonl_rows
from tasks.execution import Run
from tasks.records import RESPONSE, content_id, prompt_id
from tasks.rows.pool import write_table
from tasks.stage import Exact, How, What, stage

Manifests = tuple[Manifest, ...]


class OutputsIdentity(What):
    sha256: str


class OutputsFile(How):
    path: str


class Outputs(Exact):
    """A file of answers. Its rows have `instruction`, `output` (or `output_2`) and optionally `preference`, 1 to 2."""

    kind: Literal["outputs"]
    path: str

    def resolve(self, field: str) -> dict:
        if not Path(self.path).is_file():
            raise BadInput(f"{field}.path: there is no file {self.path!r}")
        return {"what": OutputsIdentity(sha256=file_digest(Path(self.path))), "how": OutputsFile(path=self.path)}


@stage("given answers", version="1")
def take_answers(run: Run, what: OutputsIdentity, how: OutputsFile, suite: Manifests) -> None:
    file = Path(how.path)
    if file_digest(file) != what.sha256:
        raise BadInput(f"{file} changed while the run was being prepared; run it again")
    rows = read_jsonl_rows(file) if file.suffix == ".jsonl" else json.loads(file.read_text(encoding="utf-8"))
    given = {row["instruction"]: row for row in rows}
    _, _, questions = read_suite(run, suite[0].what["suite"], suite[0])
    missing = [question.question_id for question in questions.values() if question.turns[0] not in given]
    if missing:
        raise BadInput(
            f"{file}: {len(missing)} of {len(questions)} questions have no answer; the first is {missing[0]}"
        )
    answers, published = [], []
    for name, question in questions.items():
        row, prompt = given[question.turns[0]], prompt_id(make_first_turn(question))
        text = row["output"] if "output" in row else row["output_2"]
        answers.append({"prompt_id": prompt, "sample_index": 0, "text": text, "content_id": content_id(prompt, text)})
        published.append({"question_id": name, "preference": row.get("preference")})
    table = pd.DataFrame(answers).drop_duplicates("prompt_id").reindex(columns=RESPONSE.names)
    table["engine"] = "given"
    write_table(run, table, RESPONSE, "responses.parquet")
    pd.DataFrame(published).astype({"preference": float}).to_parquet(run.folder / "published.parquet", index=False)
    run.count(rows=len(table), published=sum(row["preference"] is not None for row in published))
