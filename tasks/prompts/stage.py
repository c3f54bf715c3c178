"""Prompt selection: leaves `prompts.parquet`, unique prompts sorted by id, and beside it the evidence of how it came about.

`origins.parquet`: from which set and row; `dropped.parquet`: every row that is not a prompt here, and why;
`contamination.parquet`: what stands in a benchmark; `given_responses.parquet`: answers that the sets brought along.
"""

from pathlib import Path

import pandas as pd

from infra import hub
from infra.digests import files_digest
from infra.errors import BadInput
from infra.inputs import local_files
from tasks.demo import skills
from tasks.execution import Run
from tasks.prompts.identity import FileIdentity, HubIdentity, SelectionIdentity, SetIdentity
from tasks.prompts.sets import PromptSource
from tasks.prompts.sources import FilesAt, Skills
from tasks.records import PROMPT
from tasks.rows.pool import write
from tasks.stage import How, stage

__all__ = ["PromptSource", "select_prompts"]

Selected = Skills | FileIdentity | HubIdentity | SelectionIdentity


@stage("prompt selection", version="1")
def select_prompts(run: Run, what: Selected, how: How) -> None:
    if isinstance(what, Skills):
        rows = pd.DataFrame(skills.prompts(what.count, what.seed)).drop_duplicates("prompt_id").sort_values("prompt_id")
        run.count(rows=len(rows), with_gold=len(rows))
        write(run, rows, PROMPT, "prompts.parquet")
        return
    whole = what if isinstance(what, SelectionIdentity) else alone(what)
    at = how if isinstance(how, FilesAt) else FilesAt()
    checked = whole.decontamination.benchmarks if whole.decontamination else ()
    job = {
        "what": whole.model_dump(mode="json"),
        "sets": {one.name: [str(file) for file in brought(run, one, at)] for one in whole.sets},
        "benchmarks": {
            one.name: [str(file) for file in unchanged(at.benchmarks[one.name], one.sha256)] for one in checked
        },
    }
    out = run.program("tasks.prompts.select", job)
    run.keep(out, *sorted(file.name for file in out.glob("*.parquet")))


def alone(source: FileIdentity | HubIdentity) -> SelectionIdentity:
    return SelectionIdentity(kind="sets", sets=(SetIdentity(name="prompts", source=source),))


def brought(run: Run, one: SetIdentity, at: FilesAt) -> list[Path]:
    """The set as files on this machine."""
    if isinstance(one.source, FileIdentity):
        return unchanged(at.sets[one.name], one.source.sha256)
    target = run.scratch / f"{one.name}.parquet"
    named = one.source.model_dump(include={"id", "revision", "config", "split", "files"})
    hub.data_set(**named, columns=one.source.columns.wanted(), target=target)
    return [target]


def unchanged(location: str, expected: str) -> list[Path]:
    files = local_files("prompts", location)
    if files_digest(files) != expected:
        raise BadInput(f"prompts: {location!r} changed while the run was being prepared; run it again")
    return files
