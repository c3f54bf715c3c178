"""Programs that start warm: one process loads their libraries, which takes longer than most programs, and forks for each.

It is started with the first program and ends with us. A program that cannot be forked safely is started as any other: see
`infra.warm_parent`. `FUSE_WARM=0` starts all of them so.
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

# Variables that libraries read when they are used, not when they are loaded: they may differ from program to program.
LATE = ("FUSE_", "AWS_", "PREFECT_", "PYTEST_", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
# What begins threads when it is loaded, numpy's products and the store of pyarrow's memory; torch's begin when it is used.
THREADLESS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
TITLE = 4096  # bytes for a program's own command line, which a forked process shows in place of its parent's


class WarmProgram:
    """What the launcher needs of a `subprocess.Popen`, of a program that is not our child: its code comes by `report`."""

    def __init__(self, stdin: FileIO, report: FileIO):
        self.pid, self.stdin, self.report = 0, stdin, report
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.wait() if self.returncode is None and readable(self.report, 0) else self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            said = self.report.readline()
            self.report.close()
            self.returncode = int(said) if said else -signal.SIGKILL  # who was to tell us was killed, too
        return self.returncode

    def give_up(self) -> None:
        """It was not started; or it ends by itself, as its standard input does."""
        self.stdin.close()
        self.report.close()


AnyProgram = subprocess.Popen[bytes] | WarmProgram


class WarmParent:
    """The process that has loaded the libraries, seen from here."""

    def __init__(self, environment: Mapping[str, str]):
        self.key = key(environment)
        self.channel, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "infra.warm_parent", str(theirs.fileno()), " " * TITLE],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
                env={**environment, **THREADLESS},
            )

    def start(self, request: dict, log: BinaryIO, locks: Sequence[int], stopped: threading.Event) -> WarmProgram | None:
        """None where it cannot be forked, or the run is ending."""
        stdin, tether = os.pipe()
        heard, report = os.pipe()
        order = os.memfd_create("order")
        os.write(order, json.dumps(request).encode())
        program = WarmProgram(FileIO(tether, "w"), FileIO(heard))
        try:
            socket.send_fds(self.channel, [b"."], [order, stdin, log.fileno(), report, *locks])
        except OSError:  # it was killed
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
CURRENT: list[WarmParent] = []  # one at most: it holds half a gigabyte


def start(
    words: Sequence[str],
    environment: Mapping[str, str],
    log: BinaryIO,
    locks: Sequence[int],
    stopped: threading.Event,
) -> WarmProgram | None:
    """Starts `python -m WORDS` in a fork that keeps the locks open; None where only a start from the beginning is safe."""
    if sys.platform != "linux" or stopped.is_set():
        return None
    with LOCK:
        if not CURRENT or CURRENT[0].key != key(environment) or CURRENT[0].process.poll() is not None:
            forget()
            CURRENT.append(WarmParent(environment))
        parent = CURRENT[0]
    return parent.start({"words": list(words), "environment": dict(environment)}, log, locks, stopped)


def forget() -> None:
    """Our parent ends once its last program has ended."""
    while CURRENT:
        CURRENT.pop().channel.close()


def end() -> None:
    """At our own end: leaves nothing behind that still loads."""
    for parent in CURRENT:
        parent.channel.close()
        try:
            parent.process.wait(1)
        except subprocess.TimeoutExpired:
            parent.process.kill()
            parent.process.wait()


atexit.register(end)
os.register_at_fork(after_in_child=forget)  # it is the child of the process that forked, and ends with that one


def key(environment: Mapping[str, str]) -> tuple:
    """Of programs that may have the same parent: what libraries read when they are loaded."""
    return os.getcwd(), tuple(sorted(item for item in environment.items() if not item[0].startswith(LATE)))


def readable(file: FileIO, seconds: float) -> bool:
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    return bool(waiting.poll(1000 * seconds))
