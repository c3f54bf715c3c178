"""The attack suite: hostile programs are contained and judged failed, by every means that this machine has."""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.checks.sandbox import outside as sandbox
from tasks.checks.verdicts import Limits, ProgramTests, judge_response
from tests.checks.attacks import ESCAPES, FAKES, HOGS, RIGHT, TESTS
from tests.checks.entry import check_texts
from tests.checks.poisoned import EXTRACTION
from tests.patience import STILL, wait_until

FAILED = ("failed", "error", "timeout")
CONTAINED = (*FAILED, "unchecked")  # where the sandbox stopped what an honest program might do too
UNUSED = "unicodedata"  # a module that no attack needs


@pytest.fixture
def place(tmp_path):
    """What there is outside: a file that everybody may read, and a socket."""
    (tmp_path / "secret").write_text("secret")
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        if folder.stat().st_uid == os.getuid() and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o55)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {"secret": str(tmp_path / "secret"), "port": server.getsockname()[1]}


def embed(code: str) -> tuple[str, str]:
    """The program as it is, and as the last of the blocks of a response, which needs the one before it."""
    fence = "```"
    before = f"{fence}python\nfrom math import *\nimport {UNUSED}\n{fence}\n"
    return code, f"First:\n{before}\nThen, by {UNUSED}:\n{fence}python\n{code}\n{UNUSED}\n{fence}\nThat is all."


def find_undetected(folder: Path, programs: dict[str, str], means: str, seconds: float, wanted=FAILED) -> dict:
    """Those with another verdict than wanted, with their rows."""
    texts = {(name, form): text for name, code in programs.items() for form, text in enumerate(embed(code))}
    rows = [(text, TESTS) for text in texts.values()]
    found = check_texts(folder, rows, means, threads=4, seconds=seconds, memory_megabytes=256)
    return {name: one for name, one in zip(texts, found, strict=True) if one["verdict"] not in wanted}


def test_a_right_program_passes_in_both_forms(means, tmp_path):
    found = check_texts(tmp_path, [(text, TESTS) for text in embed(RIGHT)], means)
    assert [one["verdict"] for one in found] == ["passed", "passed"]


def test_there_are_a_hundred_attacks():
    assert len(ESCAPES) + len(HOGS) + len(FAKES) + len(EXTRACTION) >= 100


def test_every_escape_is_contained_and_never_passes(means, place, tmp_path):
    programs = {name: code.format_map(place) for name, code in ESCAPES.items()}
    before = processes_under(os.getpid())
    assert find_undetected(tmp_path / "job", programs, means, 20, CONTAINED) == {}
    assert (tmp_path / "secret").read_text() == "secret"
    assert not {*processes_under(os.getpid())} - {*before}


def test_every_hog_is_ended(means, tmp_path):
    before = processes_under(os.getpid())
    assert find_undetected(tmp_path, HOGS, means, 0.5, CONTAINED) == {}
    assert not {*processes_under(os.getpid())} - {*before}


def test_every_fake_is_judged_failed(means, tmp_path):
    """Under every sandbox: the verdict comes from the process in which no line of the response runs."""
    found = find_undetected(tmp_path, FAKES, means, seconds=20)
    assert {(name, one["verdict"]) for (name, _), one in found.items()} == {
        ("a thread that answers in its place", "unchecked")
    }


def test_the_sandbox_holds_after_them(means):
    with sandbox.Sandbox(means) as box:
        assert box.weakness() == ""
        alone = len(processes_under(box.server.pid))
        assert judge_response(box, "while 1: pass", ProgramTests(TESTS), Limits(0.1)).verdict == "timeout"
        assert judge_response(box, RIGHT, ProgramTests(TESTS), Limits(STILL)).verdict == "passed"
        assert len(processes_under(box.server.pid)) == alone and box.weakness() == ""


STARTER = """
import json, os, sys
from tasks.checks.sandbox.outside import Limits, Sandbox

box = Sandbox(sys.argv[1])
print(box.server.pid, flush=True)
os.read(0, 1)
job, answers = os.memfd_create("job"), os.memfd_create("answers")
names = {"setup": "", "text": "while 1: pass", "entry_point": "", "beginning": "", "shared": []}
os.write(job, json.dumps(names).encode() + b"\\n")
os.lseek(job, 0, 0)
box.start("candidate", Limits(seconds=600), [job, answers])
os.read(0, 1)
"""


def test_a_sandbox_ends_with_the_process_that_started_it(means):
    starter = subprocess.Popen([sys.executable, "-c", STARTER, means], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server = int(starter.stdout.readline())
    before = processes_under(server)
    starter.stdin.write(b"\n")
    starter.stdin.flush()
    candidates = lambda: set(processes_under(server)) - set(before)
    wait_until(lambda: any(cpu_ticks(process) > 20 for process in candidates()), story=lambda: str(candidates()))
    inside = [server, *processes_under(server)]
    starter.kill()
    starter.wait()
    left = lambda: [process for process in inside if alive(process)]
    wait_until(lambda: not left(), story=lambda: str(left()))


def cpu_ticks(process: int) -> int:
    with suppress(OSError):
        return sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return 0


def alive(process: int) -> bool:
    """And not ended, waiting to be buried: an orphan's last home may take its time over that."""
    with suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    return False


def processes_under(process: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [below for child in children if alive(child) for below in (child, *processes_under(child))]
