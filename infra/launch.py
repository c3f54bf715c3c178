"""Runs a program in a process of its own, tied to this one: it ends when we end, however we end."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.devices import Devices
from infra.ending import SAVING, end_group, failure, send
from infra.errors import ProgramFailed
from infra.interruption import one_a_second
from infra.settings import program_environment, settings


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
        self.patience = 0.0  # until when, on the monotonic clock, a program that is told to end may say that it saves
        self.running: dict[int, Path] = {}  # where each program says that it saves
        self.untold: dict[int, subprocess.Popen] = {}

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
    ) -> dict:
        """Runs `python -m MODULE JOB OUT` to its end, or a `group` of such processes that know of each other; `watch` is
        called while it runs and once after. Returns its summary, with the seconds it took, waiting for its turn not
        counted."""
        out.mkdir(parents=True, exist_ok=True)
        (out / SAVING).unlink(missing_ok=True)
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
        self.untold[process.pid] = process
        self.running[process.pid] = log.with_name(SAVING)
        try:
            self._attend(process, module, watch)
        finally:
            end_group(process)
            self.untold.pop(process.pid, None)
            del self.running[process.pid]
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
                with one_a_second(last=time.monotonic()):
                    self.patience = time.monotonic() + settings().save_seconds
                    self._let_save(process, watch)
            raise
        if process.poll() is None:
            self._let_save(process, watch)
            if process.returncode != 0:
                raise ProgramFailed(f"{module} was ended: the run is interrupted, or has failed beyond mending")
        watch()

    def _let_save(self, process: subprocess.Popen, watch: Callable[[], None]) -> None:
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

    def _tell(self, process: subprocess.Popen) -> None:
        """Once: a second signal would end torchrun's waiting for its workers."""
        if self.untold.pop(process.pid, None):
            send(process, signal.SIGTERM)

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
