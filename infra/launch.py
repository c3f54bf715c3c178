"""Runs a program in a process of its own, tied to this one: it ends when we end, however we end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.devices import Devices
from infra.errors import BadInput, ProgramFailed, Unavailable
from infra.settings import program_environment, settings

LOG_TAIL = 20
TORCHRUN = "torch/distributed/elastic/"


@dataclass(frozen=True)
class Environment:
    """A Python that has a program's libraries, and the variables that they read."""

    python: str = sys.executable
    variables: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0  # of its own; 0: it sees what we see


HERE = Environment()


class Launcher:
    """This machine's programs: at most `slots` at once, each with its share of the cores."""

    def __init__(self, slots: int | None = None, threads: int | None = None):
        self.slots = threading.BoundedSemaphore(slots or settings().programs_at_once)
        self.threads = threads or settings().threads_per_program
        self.devices = Devices()
        self.stopped = threading.Event()
        self.patience = 0.0  # until when, on the monotonic clock, a program that is told to end may save
        self.running: set[int] = set()

    def leave(self) -> None:
        """We are interrupted: our programs end, and may save first. Who interrupts again does not wait."""
        self.patience = time.monotonic() + settings().save_seconds
        self.stopped.set()
        try:
            while self.running and time.monotonic() < self.patience:
                time.sleep(0.1)
        finally:
            self.patience = 0.0

    def run(
        self,
        module: str,
        job: dict,
        out: Path,
        watch: Callable[[], None] = lambda: None,
        group: int = 0,
        environment: Environment = HERE,
    ) -> dict:
        """Runs `python -m MODULE JOB OUT` to its end, or a `group` of such processes that know of each other; `watch` is
        called while it runs and once after. Returns its summary, with the seconds it took, waiting for its turn not
        counted."""
        out.mkdir(parents=True, exist_ok=True)
        job_file, log = out / "job.json", out / "log.txt"
        job_file.write_text(json.dumps(job, indent=1))
        with self.slots, self.devices.taken(environment.gpus) as gpus:
            started = time.monotonic()
            self._run([*as_group(group), module, str(job_file), str(out), "tethered"], log, watch, environment, gpus)
            seconds = round(time.monotonic() - started, 3)
        return {**json.loads((out / "summary.json").read_text()), "program_seconds": seconds}

    def _run(
        self, words: list[str], log: Path, watch: Callable[[], None], environment: Environment, gpus: dict[str, str]
    ) -> None:
        module = words[-4]
        if self.stopped.is_set():
            raise ProgramFailed(f"{module} was not begun: the run is ending")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [environment.python, "-m", *words],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=program_environment(self.threads) | environment.variables | gpus,
            )
        self.running.add(process.pid)
        try:
            self._attend(process, module, watch)
        finally:
            end_group(process)
            self.running.discard(process.pid)
        if process.returncode != 0:
            raise failure(module, process.returncode, log)

    def _attend(self, process: subprocess.Popen, module: str, watch: Callable[[], None]) -> None:
        """Returns when the program has ended by itself."""
        try:
            while process.poll() is None and not self.stopped.is_set():
                watch()
                time.sleep(0.2)
        except BaseException as problem:
            if not isinstance(problem, Exception):  # an interruption, which the main thread alone hears
                self.patience = time.monotonic() + settings().save_seconds
                self._let_save(process, watch)
            raise
        if process.poll() is None:
            self._let_save(process, watch)
            if process.returncode != 0:
                raise ProgramFailed(f"{module} was ended: the run is interrupted, or has failed beyond mending")
        watch()

    def _let_save(self, process: subprocess.Popen, watch: Callable[[], None]) -> None:
        """A training writes a checkpoint when it is told to end, and `watch` takes it to the store."""
        if time.monotonic() >= self.patience:
            return
        send(process, signal.SIGTERM)
        while process.poll() is None and time.monotonic() < self.patience:
            watch()
            time.sleep(0.1)
        watch()


def as_group(processes: int) -> list[str]:
    """torchrun on this machine alone. Its workers inherit our end of the tether, so they too end when we do."""
    if not processes:
        return []
    return ["torch.distributed.run", "--standalone", "--local-addr=localhost", f"--nproc-per-node={processes}", "-m"]


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
