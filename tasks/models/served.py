"""Reward models without local weights: a model behind an endpoint, and a program written by the user."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from infra.digests import file_digest
from infra.errors import BadInput
from tasks.stage import Exact, How, What


class Served(What):
    """A model behind an endpoint. The endpoint's address is in `how.scoring.urls`, because it does not change results."""

    kind: Literal["served"]
    id: str = Field(min_length=1, description="the model's name at the endpoint")
    revision: str = Field(min_length=1, description="the version of the model: the commit of its weights, or a date")

    def resolve(self, field: str) -> dict:
        return {"what": self}


class ProgramIdentity(What):
    """The identity of a program: its file's name and content and its command, but not its path."""

    kind: Literal["program"]
    name: str
    sha256: str
    command: tuple[str, ...]


class ProgramAt(How):
    path: str


class ScoringFile(Exact):
    """A program of one file that scores responses; copied into the store, so that every worker has it."""

    kind: Literal["program"]
    path: str
    command: tuple[str, ...] = Field(
        default=("python3", "{program}"),
        min_length=1,
        description="the command; {program} is replaced by the file's path",
    )

    def resolve(self, field: str) -> dict:
        file = Path(self.path)
        if not file.is_file():
            raise BadInput(f"{field}.path: there is no file {self.path!r}")
        if not any("{program}" in word for word in self.command):
            raise BadInput(
                f"{field}.command: {list(self.command)} must contain {{program}}, which is replaced by the file's path"
            )
        what = ProgramIdentity(kind="program", name=file.name, sha256=file_digest(file), command=self.command)
        return {"what": what, "how": ProgramAt(path=str(file.absolute()))}
