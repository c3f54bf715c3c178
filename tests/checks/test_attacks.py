"""The attack suite: hostile programs are contained and judged failed, by every means that this machine has."""

import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from checks.attacks import ESCAPES, FAKES, HOGS, RIGHT, TESTS

from tasks.checks.sandbox import outside as sandbox
from tasks.checks.verdicts import Limits, Suite, judge

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
    """By whatever means the program is kept in: what it says is judged outside."""
    assert passing(box, FAKES, seconds=20) == {}


def test_the_run_goes_on_after_them(box):
    assert judge(box, RIGHT, Suite(TESTS), Limits()).verdict == "passed"


def test_nothing_of_them_is_left_behind(box):
    with sandbox.Sandbox(box.means) as fresh:
        assert fresh.weakness() == "" and judge(box, "while 1: pass", Suite(TESTS), Limits(0.1)).verdict == "timeout"
        assert len(processes_under(box.server.pid)) == len(processes_under(fresh.server.pid))


def test_a_sandbox_ends_with_whoever_started_it_however_that_ends(box):
    code = (
        "import os, sys; from tasks.checks.sandbox.outside import Limits, Sandbox; box = Sandbox(sys.argv[1]);"
        'job = os.memfd_create(\'job\'); os.write(job, b\'{"setup": "", "code": "while 1: pass"}\\n\'); os.lseek(job, 0, 0);'
        "box.start('candidate', Limits(seconds=600), [job, 1]); print(box.server.pid, flush=True); os.read(0, 1)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, box.means], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server = int(starter.stdout.readline())
    inside = [server, *processes_under(server)]
    assert len(inside) > len(processes_under(box.server.pid))  # one of them waits for its program
    starter.kill()
    starter.wait()
    deadline = time.monotonic() + 20
    while left := [process for process in inside if alive(process)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def alive(process: int) -> bool:
    """And not ended, waiting to be buried: an orphan's last home may take its time over that."""
    with suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    return False


def processes_under(process: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [below for child in children if alive(child) for below in (child, *processes_under(child))]
