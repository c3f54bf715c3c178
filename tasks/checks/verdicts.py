"""Judges a response's program with tests, in two processes: the candidate runs the program, the examiner runs the tests.

The processes exchange plain values only. The program sees neither the tests nor the expected values, and the verdict comes from
the examiner, which runs no code of the response. So these tricks fail: early exit with any exit code, replaced built-ins,
objects that equal everything, text on standard output. All count as a missing or wrong answer.
A program can still return right values for wrong reasons; only better tests find that.
If a call returns None, the changed arguments are sent back. Functions as arguments are not supported.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from tasks.checks.sandbox.outside import Limits, Sandbox, end_process
from tasks.checks.sandbox.waiting import is_readable

GRACE = 10.0  # seconds for two processes to start on a busy machine; a timer limits the examiner itself
LONGEST = 1 << 16
TRIES = 2


@dataclass(frozen=True)
class Verdict:
    """passed, failed, error, timeout, or unchecked (the response could not be judged). `total`: number of assertions made."""

    verdict: str
    passed: int = 0
    total: int = 0
    reason: str = ""


@dataclass(frozen=True)
class ProgramTests:
    """Python whose `assert`s are the tests. `setup` runs before the tests and before the program; the program can read it, so
    it must contain no answers. `entry_point` is an expression such as `Solution().add`; if the tests define `check(candidate)`,
    it is called with that object. `solution`: the set's own solution, if any; tests that it fails are not used. If there is a
    `beginning`, the response continues it. `seconds`: limit for all tests; 0: the recipe's. `seconds_per_call`: limit for each
    call of the program; 0: none."""

    tests: str
    entry_point: str = ""
    setup: str = ""
    solution: str = ""
    beginning: str = ""
    seconds: float = 0
    seconds_per_call: float = 0


def judge_response(sandbox: Sandbox, text: str, tests: ProgramTests, limits: Limits) -> Verdict:
    """Judges a response. This process does not parse the text: the sandbox extracts the program from it."""
    limits = replace(limits, seconds=tests.seconds or limits.seconds)
    return repeat_if_server_died(sandbox, lambda: judge_once(sandbox, text, tests, limits))


def repeat_if_server_died(sandbox: Sandbox, judge: Callable[[], Verdict]) -> Verdict:
    """If the sandbox's server died, for example of a lack of memory, the verdict is not the response's fault: the check is
    repeated once, then the response is unchecked."""
    for _ in range(TRIES):
        server = sandbox.servers
        verdict = judge()
        if verdict.verdict == "passed" or sandbox.is_served_by(server):
            return verdict
    return Verdict("unchecked", reason="the sandbox died during the check, and again when it was repeated")


def judge_once(sandbox: Sandbox, text: str, tests: ProgramTests, limits: Limits) -> Verdict:
    job = os.memfd_create("job")
    os.write(job, json.dumps({"text": text, **asdict(tests)}).encode())
    os.lseek(job, 0, os.SEEK_SET)
    requests, asking = os.pipe()
    answering, answers = os.pipe()
    reading, verdict_writer = os.pipe()
    given, processes = [job, requests, asking, answering, answers, verdict_writer], []
    try:
        processes.append(sandbox.start("candidate", limits, [requests, answers]))
        processes.append(sandbox.start("examiner", limits, [job, verdict_writer, asking, answering]))
        close_descriptors(given)  # else the pipe would not end when the examiner ends
        return read_verdict(reading, limits.seconds)
    finally:
        close_descriptors([*given, reading])
        for process in processes:
            end_process(process)


def close_descriptors(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def read_verdict(reading: int, seconds: float) -> Verdict:
    """Reads the verdict that the examiner writes; "timeout" or "error" if it writes none."""
    started, written = time.monotonic(), b""
    too_late = Verdict("timeout", reason="the tests were not done in time")
    while len(written) < LONGEST:
        if not is_readable(reading, started + seconds + GRACE - time.monotonic()):
            return too_late
        if not (read := os.read(reading, LONGEST)):
            break
        written += read
    if not written:
        ended_by_its_timer = time.monotonic() - started >= seconds
        return too_late if ended_by_its_timer else Verdict("error", reason="the tests ended without a verdict")
    try:
        return Verdict(**json.loads(written))
    except (ValueError, TypeError):
        return Verdict("error", reason="the tests wrote something that is not a verdict")
