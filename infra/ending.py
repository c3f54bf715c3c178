"""How a program ends: with whatever it started, and for which reason."""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

from infra.errors import BadInput, ProgramFailed, Unavailable

LOG_TAIL = 20
SAVING = "saving"  # a program that was told to end leaves this in its folder: it has heard, and saves
TORCHRUN = "torch/distributed/elastic/"


def end_group(process: subprocess.Popen) -> None:
    """The program and whatever it started: gone when this returns; the workers of a group at once after it, as their
    tether is cut."""
    send(process, signal.SIGKILL)
    process.stdin.close()
    process.wait()


def send(process: subprocess.Popen, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, what)


def failure(module: str, code: int, log: Path) -> Exception:
    reason = log.with_name("failure.json")
    if code and reason.exists():  # torchrun has a code of its own
        said = json.loads(reason.read_text())
        return {"BadInput": BadInput, "Unavailable": Unavailable}[said["kind"]](said["message"])
    lines = log.read_text(errors="replace").splitlines()
    last = next((place for place, line in enumerate(lines) if TORCHRUN in line), len(lines))
    tail = "\n".join(lines[:last][-LOG_TAIL:])  # what torchrun says after it hides what its workers said
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return ProgramFailed(f"{module} {ended}; the end of {log}:\n{tail}")
