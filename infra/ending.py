"""How a program ends: with whatever it started, and for which reason."""

import contextlib
import json
import os
import signal
from pathlib import Path

from infra.errors import BadInput, OutOfMemory, ProgramFailed, ProgramKilled, Unavailable
from infra.signals import OF_A_GROUP, describe
from infra.warm import AnyProgram

LOG_TAIL = 20
SAVING = "saving"  # a program that was told to end leaves this in its folder: it has heard, and saves
TORCHRUN = "torch/distributed/elastic/"
KINDS = {kind.__name__: kind for kind in (BadInput, OutOfMemory, Unavailable)}


def end_group(process: AnyProgram) -> None:
    """The program and whatever it started: gone when this returns; the workers of a group at once after it, as their
    tether is cut."""
    send_signal(process, signal.SIGKILL)
    assert process.stdin is not None  # every program is started with a pipe
    process.stdin.close()
    process.wait()


def send_signal(process: AnyProgram, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, what)


def describe_failure(module: str, code: int, log: Path, killed_before: int | None) -> Exception:
    reason = log.with_name("failure.json")
    if code and reason.exists():  # torchrun has a code of its own
        said = json.loads(reason.read_text())
        return KINDS[said["kind"]](said["message"])
    lines = log.read_text(errors="replace").splitlines()
    last = next((place for place, line in enumerate(lines) if TORCHRUN in line), len(lines))
    tail = "\n".join(lines[:last][-LOG_TAIL:])  # what torchrun says after it hides what its workers said
    if OF_A_GROUP in "\n".join(lines[last:]):
        code = -signal.SIGKILL  # of one of its processes, after which torchrun has a code of its own
    kind = ProgramKilled if code < 0 else ProgramFailed
    return kind(f"{module} {describe(code, killed_before)}; the end of {log}:\n{tail}")
