"""Programs: their summary, their failures, and that they never outlive whoever started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.errors import BadInput, ProgramFailed, Unavailable
from infra.launch import Launcher

SLEEPER = "tests.infra.sleeper"


@pytest.fixture
def launcher(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    return Launcher(slots=1, threads=1)


def test_the_summary_comes_back_with_the_seconds_it_took(launcher, tmp_path):
    summary = launcher.run(SLEEPER, {"kind": "quick"}, tmp_path / "out")
    assert summary["rows"] == 3 and summary["program_seconds"] > 0


def test_bad_input_comes_back_as_its_one_line(launcher, tmp_path):
    with pytest.raises(BadInput, match=r"^rows: there are none$"):
        launcher.run(SLEEPER, {"kind": "bad input"}, tmp_path / "out")


def test_what_may_come_back_is_told_apart_from_bad_input(launcher, tmp_path):
    with pytest.raises(Unavailable, match=r"^no GPU is free$"):
        launcher.run(SLEEPER, {"kind": "no GPU"}, tmp_path / "out")


def test_a_bug_comes_back_with_the_end_of_the_log(launcher, tmp_path):
    with pytest.raises(ProgramFailed, match=r"(?s)ended with code 1; the end of .*log.txt.*a bug of ours"):
        launcher.run(SLEEPER, {"kind": "bug"}, tmp_path / "out")


def test_a_watcher_that_raises_ends_the_program_and_its_children(launcher, tmp_path):
    def watch():
        if (tmp_path / "out" / "pids").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launcher.run(SLEEPER, {"kind": "sleep"}, tmp_path / "out", watch)
    assert_gone(int((tmp_path / "out" / "pids").read_text()))


def test_a_program_and_its_children_end_when_their_starter_is_killed(tmp_path):
    code = (
        f"from infra.launch import Launcher; from pathlib import Path; "
        f"Launcher(1, 1).run({SLEEPER!r}, {{'kind': 'sleep'}}, Path({str(tmp_path / 'out')!r}))"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    pids = tmp_path / "out" / "pids"
    while not pids.exists():
        assert starter.poll() is None
        time.sleep(0.05)
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    assert_gone(int(pids.read_text()))


def test_bad_input_of_a_group_comes_back_as_its_one_line(launcher, tmp_path):
    with pytest.raises(BadInput, match=r"^rows: there are none$"):
        launcher.run(SLEEPER, {"kind": "bad input"}, tmp_path / "out", group=2)


def test_a_group_ends_when_its_starter_is_killed(tmp_path):
    """torchrun puts its workers into sessions of their own, where no signal to our group reaches them."""
    code = (
        f"from infra.launch import Launcher; from pathlib import Path; "
        f"Launcher(1, 1).run({SLEEPER!r}, {{'kind': 'sleep in a group'}}, Path({str(tmp_path / 'out')!r}), group=2)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    while len(members := list((tmp_path / "out").glob("member-*"))) < 2:
        assert starter.poll() is None
        time.sleep(0.05)
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    for member in members:
        assert_gone(int(member.name.partition("-")[2]))


def assert_gone(pid: int) -> None:
    """Gone, or a zombie that nobody here has to reap."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")
