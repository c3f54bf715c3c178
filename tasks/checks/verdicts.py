"""A response's program against tests, in two processes: one runs the program, the other the tests.

The program is handed plain values and hands back plain values; it learns neither the tests nor what they expect, and the
verdict comes from the process in which no line of it ever ran. Ending early, with whatever exit code, replacing built-ins,
objects that equal everything, words on standard output: none of it is looked at, all of it is an answer that is missing or
wrong. What remains possible: to return right values for wrong reasons, which only better tests find out.
A call that returns nothing leaves in its arguments what it made of them. What cannot be tested so: functions as arguments.
"""

import json
import os
import time
from dataclasses import asdict, dataclass

from tasks.checks.sandbox.outside import Limits, Sandbox, end_process
from tasks.checks.sandbox.waiting import is_readable

GRACE = 10.0  # seconds for two processes to start on a busy machine; the examiner's own time is kept by a timer
LONGEST = 1 << 16


@dataclass(frozen=True)
class Verdict:
    """passed, failed, error, timeout; or unchecked, where it says nothing of the response. `total`: assertions made."""

    verdict: str
    passed: int = 0
    total: int = 0
    reason: str = ""


@dataclass(frozen=True)
class ProgramTests:
    """Python whose `assert`s are the tests. `setup` runs before them and before the program, which can read it: no answers in
    there. `check(candidate)`, if the tests define it, is called with what the entry point names, an expression such as
    `Solution().add`. `solution`: a program that passes, where the set brings one; tests that it fails are not used."""

    tests: str
    entry_point: str = ""
    setup: str = ""
    solution: str = ""


def judge_response(sandbox: Sandbox, text: str, tests: ProgramTests, limits: Limits) -> Verdict:
    """The verdict on a response. This process does not look into its text: the sandbox finds the program in it."""
    job = os.memfd_create("job")
    os.write(job, json.dumps({"text": text, **asdict(tests)}).encode())
    os.lseek(job, 0, os.SEEK_SET)
    requests, asking = os.pipe()
    answering, answers = os.pipe()
    heard, says = os.pipe()
    given, processes = [job, requests, asking, answering, answers, says], []
    try:
        processes.append(sandbox.start("candidate", limits, [requests, answers]))
        processes.append(sandbox.start("examiner", limits, [job, says, asking, answering]))
        close_descriptors(given)
        return read_verdict(heard, limits.seconds)
    finally:
        close_descriptors([*given, heard])
        for process in processes:
            end_process(process)


def close_descriptors(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def read_verdict(heard: int, seconds: float) -> Verdict:
    """What the examiner says in time, no matter what becomes of it."""
    started, said = time.monotonic(), b""
    too_late = Verdict("timeout", reason="the tests were not done in time")
    while len(said) < LONGEST:
        if not is_readable(heard, started + seconds + GRACE - time.monotonic()):
            return too_late
        if not (read := os.read(heard, LONGEST)):
            break
        said += read
    if not said:
        ended_by_its_timer = time.monotonic() - started >= seconds
        return too_late if ended_by_its_timer else Verdict("error", reason="the tests ended without a verdict")
    try:
        return Verdict(**json.loads(said))
    except (ValueError, TypeError):
        return Verdict("error", reason="the tests ended with words that are no verdict")
