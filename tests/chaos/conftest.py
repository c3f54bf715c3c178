"""Places to attack: a folder and a real S3 server, in a workspace of the test's own."""

from uuid import uuid4

import pytest

from tests.chaos.kills import TALLY, Attack
from tests.infra.seaweed import seaweed

__all__ = ["seaweed"]


def pytest_terminal_summary(terminalreporter):
    if TALLY:
        kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(TALLY.items()))
        lost = TALLY["leases lost"]
        terminalreporter.write_line(f"{TALLY.total() - lost} kills and pauses: {kinds}")


@pytest.fixture(params=["file", "s3"])
def attack(request, tmp_path, workplace):
    """Makes attacks on new stores of one kind."""

    def begin() -> Attack:
        name = uuid4().hex
        if request.param == "file":
            return Attack(str(tmp_path / name / "store"), tmp_path / name)
        server = request.getfixturevalue("seaweed")
        return Attack(f"{server.url}/{name}", tmp_path / name, server.options())

    begin.kind = request.param
    return begin
