"""Starts programs quickly: one parent process loads their libraries once and forks for each program.

The parent starts with the first program and ends with this process. A program that cannot be forked safely starts as a
new Python process; see `infra.warm_parent`. With `FUSE_WARM=0` all programs start so.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from io import FileIO
from typing import BinaryIO

# Libraries read these variables at use, not at import: programs with different values may share a parent.
LATE = ("FUSE_", "AWS_", "PREFECT_", "PYTEST_", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
# At import numpy's OpenBLAS and pyarrow's allocator would start threads; torch starts its threads at first use.
THREADLESS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
TITLE = 4096  # bytes reserved for a program's command line, which a forked process shows instead of its parent's


class WarmProgram:
    """The part of `subprocess.Popen` that the launcher uses, for a program that is not our child: `report` gives its exit
    code."""

    def __init__(self, stdin: FileIO, report: FileIO):
        self.pid, self.stdin, self.report = 0, stdin, report
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.wait() if self.returncode is None and readable(self.report, 0) else self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            line = self.report.readline()
            self.report.close()
            self.returncode = int(line) if line else -signal.SIGKILL  # empty: the reporting process was killed, too
        return self.returncode

    def give_up(self) -> None:
        """Closes both pipes. If the program did start, it ends by itself, since its standard input closes."""
        self.stdin.close()
        self.report.close()


AnyProgram = subprocess.Popen[bytes] | WarmProgram


class WarmParent:
    """Our handle of the process that has loaded the libraries."""

    def __init__(self, environment: Mapping[str, str]):
        self.key = key(environment)
        self.channel, parent_end = socket.socketpair()
        with parent_end:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "infra.warm_parent", str(parent_end.fileno()), " " * TITLE],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[parent_end.fileno()],
                env={**environment, **THREADLESS},
            )

    def start(self, request: dict, log: BinaryIO, locks: Sequence[int], stopped: threading.Event) -> WarmProgram | None:
        """Starts a program in a fork; None if it cannot be forked or the run is ending."""
        stdin, tether = os.pipe()
        report_reader, report = os.pipe()
        order = os.memfd_create("order")
        os.write(order, json.dumps(request).encode())
        program = WarmProgram(FileIO(tether, "w"), FileIO(report_reader))
        try:
            socket.send_fds(self.channel, [b"."], [order, stdin, log.fileno(), report, *locks])
        except OSError:  # the parent was killed
            return program.give_up()
        finally:
            for descriptor in (order, stdin, report):
                os.close(descriptor)
        while not readable(program.report, 0.2):
            if stopped.is_set():
                return program.give_up()
        program.pid = int(program.report.readline() or 0)
        return program if program.pid else program.give_up()


LOCK = threading.Lock()
CURRENT: list[WarmParent] = []  # at most one, since it uses half a gigabyte of memory


def start(
    words: Sequence[str],
    environment: Mapping[str, str],
    log: BinaryIO,
    locks: Sequence[int],
    stopped: threading.Event,
) -> WarmProgram | None:
    """Starts `python -m WORDS` in a fork that keeps the locks open; None if only a new Python process is safe."""
    if sys.platform != "linux" or stopped.is_set():
        return None
    with LOCK:
        if not CURRENT or CURRENT[0].key != key(environment) or CURRENT[0].process.poll() is not None:
            forget()
            CURRENT.append(WarmParent(environment))
        parent = CURRENT[0]
    return parent.start({"words": list(words), "environment": dict(environment)}, log, locks, stopped)


def forget() -> None:
    """Closes the channel to the parent, which then ends after its last program."""
    while CURRENT:
        CURRENT.pop().channel.close()


def end() -> None:
    """Ends the parent at exit, also if it is still loading libraries."""
    for parent in CURRENT:
        parent.channel.close()
        try:
            parent.process.wait(1)
        except subprocess.TimeoutExpired:
            parent.process.kill()
            parent.process.wait()


atexit.register(end)
os.register_at_fork(after_in_child=forget)  # in a forked process: the warm parent belongs to the original process


def key(environment: Mapping[str, str]) -> tuple:
    """Programs with the same key may share a parent: working directory and the variables that libraries read at import."""
    return os.getcwd(), tuple(sorted(item for item in environment.items() if not item[0].startswith(LATE)))


def readable(file: FileIO, seconds: float) -> bool:
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    return bool(waiting.poll(1000 * seconds))
