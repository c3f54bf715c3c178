"""The attack suite: hostile programs are contained and judged failed, by every means that this machine has."""

import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from checks.attacks import ESCAPES, FAKES, RIGHT, TESTS

from tasks.checks import sandbox
from tasks.checks.judge import Limits, Tests, judge

LIMITS = Limits(seconds=2, memory_megabytes=256)
WORLD = {name: f"{name}" for name in ()}


@pytest.fixture(scope="module", params=sandbox.MEANS)
def box(request):
    if request.param == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    with sandbox.Sandbox(request.param) as box:
        if weakness := box.weakness():
            pytest.skip(f"this machine has no sandbox by {request.param}: {weakness}")
        yield box


def verdicts(box, programs: dict[str, str]) -> dict:
    with ThreadPoolExecutor(4) as pool:
        return dict(
            zip(programs, pool.map(lambda code: judge(box, code, Tests(TESTS), LIMITS), programs.values()), strict=True)
        )


def test_every_escape_is_contained_and_judged_failed_and_the_run_goes_on(box, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if folder.owner() == secret.owner():
            os.chmod(folder, folder.stat().st_mode | 0o5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = {"secret": str(secret), "port": server.getsockname()[1]}
        found = verdicts(box, {name: code.format_map(place) for name, code in ESCAPES.items()})
    assert {name: one for name, one in found.items() if one.verdict not in ("failed", "error", "timeout")} == {}
    assert secret.read_text() == "secret"
    assert judge(box, RIGHT, Tests(TESTS), LIMITS).verdict == "passed"


def test_every_fake_is_judged_failed(box):
    found = verdicts(box, FAKES)
    assert {name: one for name, one in found.items() if one.verdict not in ("failed", "error", "timeout")} == {}
    assert judge(box, RIGHT, Tests(TESTS), LIMITS).verdict == "passed"
