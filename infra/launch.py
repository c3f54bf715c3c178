"""Runs a program in a process of its own, tied to this one: it ends when we end, however we end."""

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
    closed: bool = False  # it handles what models wrote: it inherits no variable that may hold a secret


HERE = Environment()


def other_environment(python: str) -> Environment:
    """The environment of another Python, in which this project is not installed."""
    return Environment(python, other_python_environment())


class Launcher:
    """This machine's programs, each with its share of the cores: as many at once as have GPUs, and on cores, or where
    somebody has limited all of them, as many as there are slots."""

    def __init__(self, slots: int | None = None, threads: int | None = None):
        self.slots = threading.BoundedSemaphore(slots or settings().slots)
        self.limited, self.given_threads = bool(slots or settings().programs), threads
        self.stopped = threading.Event()
        self.patience = 0.0  # until when, on the monotonic clock, a program that is told to end may say that it saves
        self.running: dict[int, Path] = {}  # where each program says that it saves
        self.untold: dict[int, AnyProgram] = {}

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(find_gpus(), settings().ledger)

    @cached_property
    def threads(self) -> int:
        return self.given_threads or settings().threads_beside(len(self.ledger.gpus))

    def leave(self) -> None:
        """We are interrupted: our programs end, and may save first, for as long as that takes. A second interruption, one
        second or more after the first, ends the wait."""
        with one_a_second(last=time.monotonic()):
            self.patience = time.monotonic() + settings().save_seconds
            self.stopped.set()
            try:
                for process in list(self.untold.values()):
                    self._tell(process)  # at once: who watches it may be busy
                while self.running and self._waits_for(*self.running.values()):
                    time.sleep(0.1)
            finally:
                self.patience = 0.0

    def pause(self, seconds: float) -> None:
        """For whoever waits for others, however long they take: it ends, by an error, as soon as the run does."""
        if self.stopped.wait(seconds):
            raise ProgramFailed("the run is ending: nobody is waited for any more")

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
        """Runs `python -m MODULE JOB OUT` to its end, or a `group` of such processes that know of each other; `watch` is
        called while it runs and once after, `on_wait` while it waits for the GPUs of its request. Returns its summary,
        with the seconds it took, waiting for its turn not counted."""
        out.mkdir(parents=True, exist_ok=True)
        (out / SAVING).unlink(missing_ok=True)
        job_file, log = out / "job.json", out / "log.txt"
        job_file.write_text(json.dumps(job, indent=1))
        kind = f"{module} {job.get('model', '')} on {request.gpus}"
        request = replace(request, kind=kind, progress=str(out.absolute() / "progress.json"))
        with self._room(request, on_wait) as granted:
            started = time.monotonic()
            self._run([*as_group(group), module, str(job_file), str(out), "tethered"], log, watch, environment, granted)
            seconds = round(time.monotonic() - started, 3)
            self.ledger.learn(request, seconds)
        return {**json.loads((out / "summary.json").read_text()), "program_seconds": seconds}

    @contextmanager
    def _room(self, request: Request, on_wait: Callable[[str], None]) -> Iterator[Grant | None]:
        """GPUs come first: a program that waits for them takes no slot from those that need none. On a machine without GPUs
        everything needs a slot, and nothing is granted."""
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
        self.untold[process.pid] = process
        self.running[process.pid] = log.with_name(SAVING)
        try:
            self._attend(process, module, watch)
        finally:
            end_group(process)
            self.untold.pop(process.pid, None)
            del self.running[process.pid]
        assert process.returncode is not None  # end_group waited for its end
        if process.returncode != 0:
            raise describe_failure(module, process.returncode, log, killed_before)

    def _start(self, words: list[str], output: BinaryIO, environment: Environment, granted: Grant | None) -> AnyProgram:
        variables = program_environment(self.threads, environment.closed) | environment.variables
        variables |= granted.variables if granted else {}
        locks = granted.locks if granted else ()
        may_fork = settings().warm and environment == HERE and len(words) == 4  # and no group
        if may_fork and (process := warm.start(words, variables, output, locks, self.stopped)):
            return process
        if self.stopped.is_set():
            raise ProgramFailed(f"{words[-4]} was not begun: the run is ending")
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
        """Returns when the program has ended by itself."""
        try:
            while process.poll() is None and not self.stopped.is_set():
                watch()
                time.sleep(0.2)
        except BaseException as problem:
            if not isinstance(problem, Exception):  # an interruption, which the main thread alone hears
                with one_a_second(last=time.monotonic()):
                    self.patience = time.monotonic() + settings().save_seconds
                    self._let_save(process, watch)
            raise
        if process.poll() is None:
            self._let_save(process, watch)
            if process.returncode != 0:
                raise ProgramFailed(f"{module} was stopped: the run was interrupted, or another step failed for good")
        watch()

    def _let_save(self, process: AnyProgram, watch: Callable[[], None]) -> None:
        """A training finishes its step and writes a checkpoint when it is told to end, and `watch` takes it to the store.
        What that takes depends on the model: the program that says so is waited for."""
        heard = self.running[process.pid]
        if not self._waits_for(heard):
            return
        self._tell(process)
        while process.poll() is None and self._waits_for(heard):
            watch()
            time.sleep(0.1)
        watch()

    def _tell(self, process: AnyProgram) -> None:
        """Once: a second signal would end torchrun's waiting for its workers."""
        if self.untold.pop(process.pid, None):
            send_signal(process, signal.SIGTERM)

    def _waits_for(self, *heard: Path) -> bool:
        return self.patience > 0 and (any(file.exists() for file in heard) or time.monotonic() < self.patience)


def as_group(processes: int) -> list[str]:
    """torchrun on this machine alone. Its workers inherit our end of the tether, so they too end when we do. Of itself it
    gives them half a minute to save; here it is we who lose patience."""
    if not processes:
        return []
    patience = "--shutdown-timeout=86400"
    words = ["--standalone", "--local-addr=localhost", f"--nproc-per-node={processes}", patience, "-m"]
    return ["torch.distributed.run", *words]
