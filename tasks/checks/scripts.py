"""Judges a response that is a script. The script runs once for each case; then a process in the sandbox compares the outputs.

This process only copies bytes and never parses what the script wrote.
"""

import json
import os
import time
from dataclasses import replace

from tasks.checks.cases import Cases
from tasks.checks.sandbox.outside import Limits, Sandbox, end_process
from tasks.checks.sandbox.waiting import is_readable
from tasks.checks.verdicts import Verdict, close_descriptors, read_verdict, repeat_if_server_died

MOST_MORE = 1 << 16  # bytes that a case may write in addition to twice the expected output
COMPARING = Limits(seconds=30, memory_megabytes=1024)


def judge_script(sandbox: Sandbox, text: str, cases: Cases, limits: Limits) -> Verdict:
    return repeat_if_server_died(sandbox, lambda: judge_script_once(sandbox, text, cases, limits))


def judge_script_once(sandbox: Sandbox, text: str, cases: Cases, limits: Limits) -> Verdict:
    """Runs the cases in order, and stops at the first that takes too long, raises, or writes too much."""
    limits = Limits(cases.seconds or limits.seconds, cases.memory_megabytes or limits.memory_megabytes)
    written: list[str] = []
    problem = ""
    program = json.dumps({"text": text, "setup": cases.setup, "beginning": cases.beginning})
    for case, expected in zip(cases.inputs, cases.outputs, strict=True):
        most = 2 * len(expected.encode()) + MOST_MORE
        output, problem, late = run_case(sandbox, program, case, limits, most)
        if late:
            return Verdict("timeout", len(written), len(cases.inputs), f"case {len(written) + 1} was not done in time")
        written.append(output)
        if problem or len(output.encode()) >= most:
            break
    job = {"rule": cases.rule, "expected": cases.outputs, "written": written, "problem": problem}
    verdict = compare(sandbox, job)
    return replace(verdict, total=len(cases.inputs))


def run_case(sandbox: Sandbox, program: str, case: str, limits: Limits, most: int) -> tuple[str, str, bool]:
    """Returns the script's output, the exception it raised, and whether it was still running at its deadline."""
    given = [hold(case if case.endswith("\n") else f"{case}\n"), hold(program)]
    out, writes = os.pipe()
    reports, report_writer = os.pipe()
    process = None
    try:
        process = sandbox.start("script", limits, [given[0], writes, given[1], report_writer])
        close_descriptors([*given, writes, report_writer])
        given.clear()
        output, late = read_all(out, most, time.monotonic() + limits.seconds)
        problem, _ = read_all(reports, 1 << 14, time.monotonic() + 1) if not late else (b"", False)
        return output.decode(errors="replace"), problem.decode(errors="replace"), late
    finally:
        if process is not None:
            end_process(process)
        close_descriptors([out, reports])


def compare(sandbox: Sandbox, job: dict) -> Verdict:
    given = hold(json.dumps(job))
    reading, writing = os.pipe()
    process = sandbox.start("comparing", COMPARING, [given, writing])
    try:
        close_descriptors([given, writing])
        return read_verdict(reading, COMPARING.seconds)
    finally:
        end_process(process)
        close_descriptors([reading])


def hold(text: str) -> int:
    """Returns a descriptor of a memory file with the text."""
    held = os.memfd_create("held")
    content = memoryview(text.encode(errors="replace"))
    while content:
        content = content[os.write(held, content) :]
    os.lseek(held, 0, os.SEEK_SET)
    return held


def read_all(descriptor: int, most: int, deadline: float) -> tuple[bytes, bool]:
    """Reads up to the end or about `most` bytes. Returns the bytes, and whether the deadline came first."""
    parts, size = [], 0
    while size < most:
        if not is_readable(descriptor, deadline - time.monotonic()):
            return b"".join(parts), True
        if not (part := os.read(descriptor, 1 << 16)):
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts), False
