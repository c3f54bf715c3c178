"""Reward models that are no weights of ours: one that somebody serves, and a program of the user's own."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from infra.digests import file_digest
from infra.errors import BadInput
from tasks.stage import Exact, How, What


class Served(What):
    """A model behind an endpoint. Where that is, is a matter of speed and place: `how.scoring.urls`."""

    kind: Literal["served"]
    id: str = Field(min_length=1, description="as the endpoint calls it")
    revision: str = Field(min_length=1, description="what pins it: the commit of its weights, or a date")

    def resolve(self, field: str) -> dict:
        return {"what": self}


class ProgramIdentity(What):
    """A program is its file, wherever it lies, and what it is called with."""

    kind: Literal["program"]
    name: str
    sha256: str
    command: tuple[str, ...]


class ProgramAt(How):
    path: str


class Program(Exact):
    """One file that scores; taken into the store, so that every worker has it."""

    kind: Literal["program"]
    path: str
    command: tuple[str, ...] = Field(
        ("python3", "{program}"), min_length=1, description="how it is called; {program} is the file"
    )

    def resolve(self, field: str) -> dict:
        file = Path(self.path)
        if not file.is_file():
            raise BadInput(f"{field}.path: there is no file {self.path!r}")
        if not any("{program}" in word for word in self.command):
            raise BadInput(f"{field}.command: does not name {{program}}, the file, in {list(self.command)}")
        what = ProgramIdentity(kind="program", name=file.name, sha256=file_digest(file), command=self.command)
        return {"what": what, "how": ProgramAt(path=str(file.absolute()))}
