"""The sandbox is not believed: whichever wall is taken out of it, the attack that it makes on itself tells."""

import os
import platform
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.errors import BadInput
from tasks.checks.cases import Cases
from tasks.checks.sandbox import outside as sandbox
from tasks.checks.scripts import judge_script
from tasks.checks.verdicts import Limits, ProgramTests, judge_response
from tests.checks.test_attacks import alive, processes_under
from tests.patience import STILL, wait_until

ROOM = Path(sandbox.__file__).parents[1]
WALLS = {  # means; file, what stands there, what stands there instead; what is then told
    "no filter of system calls": (
        "namespaces",
        "inside.py",
        "    seccomp.restrict_calls(",
        "    dict(",
        "starts a process",
    ),
    "no memory limit": ("namespaces", "inside.py", "resource.RLIMIT_AS:", "resource.RLIMIT_DATA - 1:", "takes memory"),
    "files by Landlock": (
        "landlock",
        "inside.py",
        "        landlock.restrict_paths(given[",
        "        str(given[",
        "reads /etc/passwd",
    ),
    "a folder too many": (
        "landlock",
        "landlock.py",
        "for path in paths:",
        "for path in (*paths, '/etc'):",
        "reads /etc/passwd",
    ),
    "sockets": (
        "namespaces",
        "seccomp.py",
        '"socketpair": 53,',
        '"socketpair": 53, "socket": 41,',
        "opens a socket of the machine",
    ),
    "states of files": ("landlock", "inside.py", 'order["means"] != "landlock"', "True", "sees /etc/passwd"),
    "links of processes": ("landlock", "seccomp.py", '"faccessat2", "readlink"', '"faccessat2"', "follows /proc/"),
    "paths that are not read": (
        "landlock",
        "seccomp.py",
        "allowed_without(THIRD, O_PATH)",
        "[filter_line(RETURN, ALLOW)]",
        "a path alone",
    ),
    "signals": ("landlock", "seccomp.py", '"socketpair": 53,', '"socketpair": 53, "kill": 62,', "signals"),
}


@pytest.fixture
def spoilt(tmp_path, monkeypatch):
    """A copy of the room in which a text is replaced."""

    def spoil(file: str, old: str, new: str) -> None:
        shutil.copytree(ROOM, tmp_path / "tasks/checks", ignore=shutil.ignore_patterns("__pycache__"))
        text = (tmp_path / "tasks/checks/sandbox" / file).read_text()
        assert old in text
        (tmp_path / "tasks/checks/sandbox" / file).write_text(text.replace(old, new))
        (tmp_path / "pyproject.toml").write_text("")
        monkeypatch.setattr(sandbox, "HOUSE", tmp_path)

    return spoil


def holds(means: str) -> None:
    with sandbox.Sandbox(means) as box:
        if weakness := box.weakness():
            pytest.skip(f"this machine has no sandbox by {means}: {weakness}")


@pytest.mark.parametrize(("means", "file", "old", "new", "told"), WALLS.values(), ids=WALLS)
def test_a_missing_wall_is_found(spoilt, means, file, old, new, told):
    if file == "seccomp.py" and platform.machine() != "x86_64":
        pytest.skip("the numbers of these system calls are x86_64's")
    holds(means)
    spoilt(file, old, new)
    with sandbox.Sandbox(means) as box:
        weakness = box.weakness()  # one that grows without a limit may not come to an answer on a busy machine
        assert told in weakness or (told == "takes memory" and weakness == "it does not start")


def test_where_nothing_holds_nothing_is_run(monkeypatch):
    """Also where there is no Linux, or no kernel that can do it: a refusal that says why, never a weaker run."""
    monkeypatch.setattr(sandbox.Sandbox, "weakness", lambda self: "it reads /etc/passwd")
    with pytest.raises(BadInput, match=r"^checks: programs .* cannot be run safely .*namespaces: it reads /etc/passwd"):
        sandbox.find_sandbox()
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    with pytest.raises(BadInput, match="landlock: needs Linux"):
        sandbox.find_sandbox()


def test_a_process_that_does_not_start_is_a_weakness(monkeypatch):
    monkeypatch.setattr(sandbox, "START", "raise SystemExit")
    with sandbox.Sandbox("landlock") as box:
        assert box.weakness() == "it does not start"


def test_a_process_that_ends_before_it_is_reported_is_no_harm(spoilt):
    """On a busy machine a server may be slower than the tests that it has started."""
    holds("landlock")
    started = "            process = os.pidfd_open(child)"
    spoilt("inside.py", started, f"            __import__('time').sleep(0.5)\n{started}")
    with sandbox.Sandbox("landlock") as box:
        assert (
            judge_response(box, "def f(x): return x", ProgramTests("assert f(1) == 1"), Limits(STILL)).verdict
            == "passed"
        )


SLOW = "import time\ndef f(x):\n    time.sleep({})\n    return x"
SLOW_TESTS = ProgramTests("assert f(1) == 1")
CHECKS = {  # how many processes a check has, and the check of a program that sleeps
    "a function": (2, lambda box, rest: judge_response(box, SLOW.format(rest), SLOW_TESTS, Limits(STILL))),
    "a script": (
        1,
        lambda box, rest: judge_script(
            box, f"import time\ntime.sleep({rest})\nprint(1)", Cases(("",), ("1",), "lines"), Limits(STILL)
        ),
    ),
}


def kill_server(box: sandbox.Sandbox, processes: int) -> None:
    """Kills the process inside the sandbox that starts the others, when all of a check have started; they die with it."""
    between = {"bubblewrap": 2, "namespaces": 2, "landlock": 0}[box.means]  # processes above the server
    found = lambda: [box.server.pid, *processes_under(box.server.pid)]
    wait_until(lambda: len(found()) == between + 1 + processes, story=lambda: f"no check began: {found()}")
    server = found()[between]
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not alive(server), story=lambda: f"{server} lives")


@pytest.mark.parametrize(("processes", "check"), CHECKS.values(), ids=CHECKS)
def test_a_check_is_repeated_if_the_server_died_meanwhile(means, processes, check):
    with sandbox.Sandbox(means) as box, ThreadPoolExecutor(1) as threads:
        found = threads.submit(check, box, 1)
        kill_server(box, processes)
        assert found.result().verdict == "passed" and box.servers == 2
        assert box.weakness() == ""


def test_a_response_whose_check_always_kills_the_server_is_unchecked(means):
    processes, check = CHECKS["a function"]
    with sandbox.Sandbox(means) as box, ThreadPoolExecutor(1) as threads:
        found = threads.submit(check, box, 1e6)
        kill_server(box, processes)
        wait_until(lambda: box.servers == 2, story=lambda: str(box.servers))
        kill_server(box, processes)
        verdict = found.result()
        assert (verdict.verdict, verdict.passed) == ("unchecked", 0) and "the sandbox died" in verdict.reason
        assert check(box, 0).verdict == "passed"
