"""The attack suite: hostile programs are contained and judged failed, by every means that this machine has."""

import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from checks.attacks import ESCAPES, FAKES, HOGS, RIGHT, TESTS

from tasks.checks import sandbox
from tasks.checks.judge import Limits, Suite, judge

FAILED = ("failed", "error", "timeout")


@pytest.fixture(scope="module", params=sandbox.MEANS)
def box(request):
    if request.param == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    with sandbox.Sandbox(request.param) as box:
        if weakness := box.weakness():
            pytest.skip(f"this machine has no sandbox by {request.param}: {weakness}")
        yield box


@pytest.fixture
def place(tmp_path):
    """What there is outside: a file that everybody may read, and a socket."""
    (tmp_path / "secret").write_text("secret")
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        if folder.stat().st_uid == os.getuid() and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o55)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {"secret": str(tmp_path / "secret"), "port": server.getsockname()[1]}


def passing(box, programs: dict[str, str], seconds: float) -> dict:
    """Those that are not judged failed."""
    limits = Limits(seconds=seconds, memory_megabytes=256)
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda code: judge(box, code, Suite(TESTS), limits), programs.values())
        return {name: one for name, one in zip(programs, found, strict=True) if one.verdict not in FAILED}


def test_every_escape_is_contained_and_judged_failed(box, place, tmp_path):
    programs = {name: code.format_map(place) for name, code in ESCAPES.items()}
    assert passing(box, programs, seconds=20) == {}
    assert (tmp_path / "secret").read_text() == "secret"


def test_every_hog_is_ended(box):
    assert passing(box, HOGS, seconds=0.5) == {}


def test_every_fake_is_judged_failed(box):
    assert passing(box, FAKES, seconds=20) == {}


def test_the_run_goes_on_after_them(box):
    assert judge(box, RIGHT, Suite(TESTS), Limits()).verdict == "passed"


def test_nothing_of_them_is_left_behind(box):
    with sandbox.Sandbox(box.means) as fresh:
        assert fresh.weakness() == "" and judge(box, "while 1: pass", Suite(TESTS), Limits(0.1)).verdict == "timeout"
        assert len(processes_under(box.server.pid)) == len(processes_under(fresh.server.pid))


def processes_under(process: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return children + [below for child in children for below in processes_under(child)]
