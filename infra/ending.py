"""Ends a program with all processes that it started, and explains why a program failed."""

import contextlib
import json
import os
import signal
from pathlib import Path

from infra.errors import BadInput, OutOfMemory, ProgramFailed, ProgramKilled, Unavailable
from infra.signals import OF_A_GROUP, describe
from infra.warm import AnyProgram

LOG_TAIL = 20
SAVING = "saving"  # the file by which a program that received SIGTERM reports that it is saving
TORCHRUN = "torch/distributed/elastic/"
KINDS = {kind.__name__: kind for kind in (BadInput, OutOfMemory, Unavailable)}


def end_group(process: AnyProgram) -> None:
    """Kills a program and its process group. Workers that torchrun started end right after, when standard input closes."""
    send_signal(process, signal.SIGKILL)
    assert process.stdin is not None  # every program is started with a pipe
    process.stdin.close()
    process.wait()


def send_signal(process: AnyProgram, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, what)


def describe_failure(module: str, code: int, log: Path, killed_before: int | None) -> Exception:
    reason = log.with_name("failure.json")
    if code and reason.exists():  # any code but 0: torchrun replaces its workers' exit code
        failure = json.loads(reason.read_text())
        return KINDS[failure["kind"]](failure["message"])
    lines = log.read_text(errors="replace").splitlines()
    last = next((place for place, line in enumerate(lines) if TORCHRUN in line), len(lines))
    tail = "\n".join(lines[:last][-LOG_TAIL:])  # torchrun's own report would hide the workers' messages
    if OF_A_GROUP in "\n".join(lines[last:]):
        code = -signal.SIGKILL  # a worker was killed; torchrun itself ends with another code
    kind = ProgramKilled if code < 0 else ProgramFailed
    return kind(f"{module} {describe(code, killed_before)}; the end of {log}:\n{tail}")
