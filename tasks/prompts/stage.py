"""The stage that selects prompts: `prompts.parquet` has unique prompts, sorted by id. Further files explain the selection.

`origins.parquet`: each prompt's set and row; `dropped.parquet`: every dropped row with the reason; `contamination.parquet`:
matches with benchmark items; `given_responses.parquet`: responses that came with the sets.
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
    paths = how if isinstance(how, FilesAt) else FilesAt()
    checked = whole.decontamination.benchmarks if whole.decontamination else ()
    job = {
        "what": whole.model_dump(mode="json"),
        "sets": {each.name: [str(file) for file in brought(run, each, paths)] for each in whole.sets},
        "benchmarks": {
            each.name: [str(file) for file in unchanged(paths.benchmarks[each.name], each.sha256)] for each in checked
        },
    }
    out = run.program("tasks.prompts.select", job)
    run.keep(out, *sorted(file.name for file in out.glob("*.parquet")))


def alone(source: FileIdentity | HubIdentity) -> SelectionIdentity:
    return SelectionIdentity(kind="sets", sets=(SetIdentity(name="prompts", source=source),))


def brought(run: Run, prompt_set: SetIdentity, paths: FilesAt) -> list[Path]:
    """The set's files on this machine."""
    source = prompt_set.source
    if isinstance(source, FileIdentity):
        return unchanged(paths.sets[prompt_set.name], source.sha256)
    target = run.scratch / f"{prompt_set.name}.parquet"
    named = source.model_dump(include={"id", "revision", "config", "split", "files"})
    hub.data_set(**named, columns=source.columns.wanted(), target=target)
    return [target]


def unchanged(location: str, expected: str) -> list[Path]:
    files = local_files("prompts", location)
    if files_digest(files) != expected:
        raise BadInput(f"prompts: {location!r} changed while the run was being prepared; run it again")
    return files
