"""The identity of a coding suite's questions: its files by sha256, and the options that choose or word the questions."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from infra.digests import file_digest
from infra.errors import BadInput
from tasks.evaluation.judged.suites.files import read_jsonl_rows
from tasks.stage import How, What

DATE = r"^\d{4}-\d\d-\d\d$"


class CodingQuestions(What):
    layout: Literal["livecodebench", "livebench-coding", "evalplus"]
    files: dict[str, str]  # name -> sha256
    options: dict[str, str]


class CodingFolder(How):
    path: str


def identify_files(folder: Path, files: Iterable[Path], layout: str, **options: str) -> dict:
    """The settings of the stage that reads these files."""
    digests = {file.relative_to(folder).as_posix(): file_digest(file) for file in files}
    what = CodingQuestions.model_validate({"layout": layout, "files": digests, "options": options})
    return {"what": what, "how": CodingFolder(path=str(folder.absolute()))}


def read_identified_rows(what: CodingQuestions, how: CodingFolder) -> Iterator[dict]:
    for name, expected in what.files.items():
        file = Path(how.path) / name
        if file_digest(file) != expected:
            raise BadInput(f"{file} changed while the run was being prepared; run it again")
        yield from read_jsonl_rows(file)
