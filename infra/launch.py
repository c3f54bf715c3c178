"""Runs a program in a separate process that ends when this process ends, even by a kill."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from infra import warm
from infra.budget import BUDGET
from infra.ending import SAVING, describe_failure, end_group, send_signal
from infra.errors import ProgramFailed
from infra.gpus import find_gpus
from infra.interruption import one_a_second
from infra.ledger import Grant, Ledger, Request
from infra.settings import other_python_environment, program_environment, settings
from infra.signals import killed_for_memory
from infra.warm import AnyProgram


@dataclass(frozen=True)
class Environment:
    """A Python that has a program's libraries, and the variables that they read."""

    python: str = sys.executable
    variables: dict[str, str] = field(default_factory=dict)
    closed: bool = False  # the program handles text from models, so it inherits no variable that may hold a secret


HERE = Environment()


def other_environment(python: str) -> Environment:
    """The environment of another Python, in which this project is not installed."""
    return Environment(python, other_python_environment())


class Launcher:
    """Starts programs on this machine and divides the cores among them. GPUs limit the programs that need GPUs; slots
    limit the others, or all programs if `slots` or FUSE_PROGRAMS is set."""

    def __init__(self, slots: int | None = None, threads: int | None = None):
        self.slots = threading.BoundedSemaphore(slots or settings().slots)
        self.limited, self.given_threads = bool(slots or settings().programs), threads
        self.stopped = threading.Event()
        self.save_deadline = 0.0  # monotonic time until which a signalled program may report that it saves; 0: none
        self.saving_files: dict[int, Path] = {}  # per process id the file by which the program reports that it saves
        self.not_signalled: dict[int, AnyProgram] = {}  # per process id the program; SIGTERM is sent only once

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(find_gpus(), settings().ledger)

    @cached_property
    def threads(self) -> int:
        return self.given_threads or settings().threads_beside(len(self.ledger.gpus))

    def leave(self) -> None:
        """Called on an interruption: sends SIGTERM to all programs and waits while they save. A second interruption, one
        second or more after the first, ends the wait."""
        with one_a_second(last=time.monotonic()):
            self.save_deadline = time.monotonic() + settings().save_seconds
            self.stopped.set()
            try:
                for process in list(self.not_signalled.values()):
                    self._terminate(process)  # here, since the thread that watches the program may be busy
                while self.saving_files and self._may_save(*self.saving_files.values()):
                    time.sleep(0.1)
            finally:
                self.save_deadline = 0.0

    def pause(self, seconds: float) -> None:
        """Sleeps between two checks of a lease or a GPU; raises ProgramFailed as soon as the run is ending."""
        if self.stopped.wait(seconds):
            raise ProgramFailed("the run is shutting down; it stopped waiting for another run or for a GPU")

    def run(
        self,
        module: str,
        job: dict,
        out: Path,
        watch: Callable[[], None] = lambda: None,
        group: int = 0,
        environment: Environment = HERE,
        request: Request = Request(),  # noqa: B008
        on_wait: Callable[[str], None] = lambda text: None,
    ) -> dict:
        """Runs `python -m MODULE JOB OUT`, or a `group` of such processes under torchrun, to its end. Calls `watch` while
        the program runs and once after, and `on_wait` while it waits for GPUs. Returns the program's summary with its run
        time in seconds, without the wait."""
        out.mkdir(parents=True, exist_ok=True)
        (out / SAVING).unlink(missing_ok=True)
        job_file, log = out / "job.json", out / "log.txt"
        job_file.write_text(json.dumps(job, indent=1))
        kind = f"{module} {job.get('model', '')} on {request.gpus}"
        request = replace(request, kind=kind, progress=str(out.absolute() / "progress.json"))
        with self._room(request, on_wait) as granted:
            BUDGET.check()
            started = time.monotonic()
            paid = charge_time(watch, request.gpus)
            self._run([*as_group(group), module, str(job_file), str(out), "tethered"], log, paid, environment, granted)
            seconds = round(time.monotonic() - started, 3)
            self.ledger.learn(request, seconds)
        return {**json.loads((out / "summary.json").read_text()), "program_seconds": seconds}

    @contextmanager
    def _room(self, request: Request, on_wait: Callable[[str], None]) -> Iterator[Grant | None]:
        """Takes the GPUs first, since a program that waits for GPUs must not occupy a slot. On a machine without GPUs every
        program needs a slot, and the grant is None."""
        taken = self.ledger.taken(request, self.pause, on_wait) if self.ledger.gpus else nullcontext()
        with taken as granted, self.slots if self.limited or not (granted and granted.gpus) else nullcontext():
            yield granted

    def _run(
        self, words: list[str], log: Path, watch: Callable[[], None], environment: Environment, granted: Grant | None
    ) -> None:
        module = words[-4]
        killed_before = killed_for_memory()
        with log.open("wb") as output:
            process = self._start(words, output, environment, granted)
        self.not_signalled[process.pid] = process
        self.saving_files[process.pid] = log.with_name(SAVING)
        try:
            self._attend(process, module, watch)
        finally:
            end_group(process)
            self.not_signalled.pop(process.pid, None)
            del self.saving_files[process.pid]
        assert process.returncode is not None  # end_group waited for its end
        if process.returncode != 0:
            raise describe_failure(module, process.returncode, log, killed_before)

    def _start(self, words: list[str], output: BinaryIO, environment: Environment, granted: Grant | None) -> AnyProgram:
        variables = program_environment(self.threads, environment.closed) | environment.variables
        variables |= granted.variables if granted else {}
        locks = granted.locks if granted else ()
        may_fork = settings().warm and environment == HERE and len(words) == 4  # 4 words: not a group
        if may_fork and (process := warm.start(words, variables, output, locks, self.stopped)):
            return process
        if self.stopped.is_set():
            raise ProgramFailed(f"{words[-4]} was not started: the run is shutting down")
        return subprocess.Popen(
            [environment.python, "-m", *words],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=variables,
            pass_fds=locks,
        )

    def _attend(self, process: AnyProgram, module: str, watch: Callable[[], None]) -> None:
        """Returns once the program has ended; raises ProgramFailed if it was stopped."""
        try:
            while process.poll() is None and not self.stopped.is_set():
                watch()
                time.sleep(0.2)
        except BaseException as problem:
            if not isinstance(problem, Exception):  # an interruption; only the main thread receives it
                with one_a_second(last=time.monotonic()):
                    self.save_deadline = time.monotonic() + settings().save_seconds
                    self._let_save(process, watch)
            raise
        if process.poll() is None:
            self._let_save(process, watch)
            if process.returncode != 0:
                raise ProgramFailed(
                    f"{module} was stopped: the run was interrupted, or another step failed and cannot be retried"
                )
        watch()

    def _let_save(self, process: AnyProgram, watch: Callable[[], None]) -> None:
        """Sends SIGTERM to the program and waits while it reports that it saves: a training finishes its step and writes a
        checkpoint, which `watch` copies to the store. The model's size decides how long this takes."""
        saving_file = self.saving_files[process.pid]
        if not self._may_save(saving_file):
            return
        self._terminate(process)
        while process.poll() is None and self._may_save(saving_file):
            watch()
            time.sleep(0.1)
        watch()

    def _terminate(self, process: AnyProgram) -> None:
        """Sends SIGTERM only once: after a second signal torchrun would not wait for its workers."""
        if self.not_signalled.pop(process.pid, None):
            send_signal(process, signal.SIGTERM)

    def _may_save(self, *saving_files: Path) -> bool:
        """True before the deadline, and while a program reports that it saves."""
        return self.save_deadline > 0 and (
            any(file.exists() for file in saving_files) or time.monotonic() < self.save_deadline
        )


def charge_time(watch: Callable[[], None], gpus: int) -> Callable[[], None]:
    """`watch`, which also charges the time since its last call to the budget."""
    last = time.monotonic()

    def charge() -> None:
        nonlocal last
        now = time.monotonic()
        BUDGET.spend((now - last) * BUDGET.rate(gpus))
        last = now
        watch()

    return charge


def as_group(processes: int) -> list[str]:
    """The words that start torchrun on this machine. Its workers inherit the standard input, so they also end when this
    process ends. torchrun's default of 30 s for saving is raised, since the launcher decides how long to wait."""
    if not processes:
        return []
    patience = "--shutdown-timeout=86400"
    words = ["--standalone", "--local-addr=localhost", f"--nproc-per-node={processes}", patience, "-m"]
    return ["torch.distributed.run", *words]
