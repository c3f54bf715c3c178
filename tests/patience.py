"""Limits against standing still: a test waits for as long as its work goes on, however slow the machine is.

Work goes on while it prints or changes files in its folder. Processor time does not count: a loop that waits for ever uses
it too. Files of Prefect and of leases do not count: they are renewed while nothing else happens.
"""

import multiprocessing.process
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

STILL = (
    600.0  # seconds; longer than the slowest single act (an import, a start of a server) on any machine that runs this
)
RENEWED = {"prefect", "_leases", "_uses"}


class StoodStill(AssertionError):
    """Nothing has changed for too long."""


class Patience:
    """Ends when the signs of work have stood still for `idle` seconds."""

    def __init__(self, signs: Callable[[], object], idle: float = STILL):
        self.signs, self.idle, self.every = signs, idle, min(1.0, idle / 10)
        self.last, self.since = signs(), time.monotonic()
        self.looked = self.since

    def check(self, story: Callable[[], str] = lambda: "") -> None:
        """Looks for signs at most once a second: they may cost more than what is waited for."""
        now = time.monotonic()
        if now - self.looked < self.every:
            return
        self.looked = now
        if (signs := self.signs()) != self.last:
            self.last, self.since = signs, now
        elif now - self.since > self.idle:
            raise StoodStill(f"nothing has changed for {self.idle:g} s\n{story()}")


def files_in(*folders: Path) -> dict[str, tuple[int, int]]:
    """The size and the time of every file that work writes in these folders."""
    found = {}
    for folder in folders:
        for at, names, files in os.walk(folder):
            names[:] = [name for name in names if name not in RENEWED]
            for name in files:
                with suppress(FileNotFoundError):
                    seen = os.stat(file := os.path.join(at, name))
                    found[file] = seen.st_size, seen.st_mtime_ns
    return found


def wait_until(
    true: Callable[[], object],
    *folders: Path,
    idle: float = STILL,
    pause: float = 0.05,
    story: Callable[[], str] = lambda: "",
) -> None:
    """Returns once `true()`; fails when neither the folders nor the story have changed for `idle` seconds."""
    patience = Patience(lambda: (story(), files_in(*folders)), idle)
    while not true():
        patience.check(story)
        time.sleep(pause)


def end_of(process: subprocess.Popen, *folders: Path, idle: float = STILL) -> subprocess.CompletedProcess:
    """What the process printed and its exit code, once it has ended. One that stands still is killed."""
    printed: list[bytes | None] = []
    patience = Patience(lambda: (*printed, files_in(*folders)), idle)
    try:
        while True:
            try:
                out, errors = process.communicate(timeout=min(1.0, idle))
                return subprocess.CompletedProcess(process.args, process.returncode, out, errors)
            except subprocess.TimeoutExpired as so_far:  # the next call returns the whole
                printed[:] = so_far.output, so_far.stderr
                patience.check(lambda: "\n".join(text.decode(errors="replace") for text in printed if text))
    except BaseException:
        kill(process)
        raise


def run_while_it_progresses(
    command: Sequence[str | Path], *folders: Path, idle: float = STILL, **options
) -> subprocess.CompletedProcess:
    """`subprocess.run` with captured text and no time limit, but for a command that stands still."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return end_of(subprocess.Popen(command, **pipes | options), *folders, idle=idle)


def kill(process: subprocess.Popen) -> None:
    """With its group, where it leads one: a child that holds the other end of a pipe would keep us waiting."""
    leads = os.getpgid(process.pid) == process.pid
    (os.killpg if leads else os.kill)(process.pid, signal.SIGKILL)
    process.wait()


def join(process: multiprocessing.process.BaseProcess, *folders: Path, idle: float = STILL) -> None:
    """Returns once the process has ended; one that stands still is killed."""
    try:
        wait_until(lambda: process.join(0.5) or not process.is_alive(), *folders, idle=idle, pause=0)
    except BaseException:
        process.kill()
        raise
