"""The parent of programs that start warm: loads what a program loads, and forks.

`python -m infra.warm_parent SOCKET`: each byte brings descriptors: an order (`words` of the command line, `environment`), the
program's standard input, its log, where to tell its process id and then its exit code, a line each, and locks that it keeps
open. It tells nothing where it may not fork: it has threads, or has begun to use a GPU, or could not load the program, which
then itself says why. It never uses what it loads.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import socket
import sys
from pathlib import Path

from infra.settings import replace_environment

MOST = 200  # descriptors of a program; the kernel sends no more than 253 at once
DRIVERS = ("/dev/nvidia", "/dev/kfd", "/dev/dxg")  # NVIDIA's, AMD's, Windows' below Linux


def serve(channel: socket.socket) -> list[str]:
    """Returns in a program, with the words of its command line; in the parent, once we are needed no more, none."""
    middle: list[int] = []
    while (message := socket.recv_fds(channel, 1, MOST))[0]:
        order, *descriptors = message[1]
        with open(order) as file:
            file.seek(0)
            request = json.load(file)
        if may_fork(request["words"][0]):
            if not (child := os.fork()):
                channel.close()
                attend(request, *descriptors)
                return request["words"]
            middle.append(child)
        close(descriptors)
        middle = [child for child in middle if not os.waitpid(child, os.WNOHANG)[0]]
    for child in middle:
        os.waitpid(child, 0)
    return []


def may_fork(module: str) -> bool:
    try:
        importlib.import_module(module)
    except Exception:  # whatever it is, the program meets it again and writes it into its log
        return False
    gc.collect()
    gc.freeze()  # or every collection in a program would copy what it shares with us
    return len(os.listdir("/proc/self/task")) == 1 and not uses_gpu()


def uses_gpu() -> bool:
    """A driver does not survive a fork, and keeps its devices open."""
    return any(str(one.resolve()).startswith(DRIVERS) for one in Path("/proc/self/fd").iterdir())


def attend(request: dict, stdin: int, log: int, report: int, *locks: int) -> None:
    """Forks once more, and returns in the program. The process between waits for it, which its parent alone can do."""
    if program := os.fork():
        close([stdin, log, *locks])
        code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
        os.write(report, b"%d\n" % code)
        os._exit(0)
    os.setsid()
    for source, target in ((stdin, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    show(request["words"])
    replace_environment(request["environment"])
    os.write(report, b"%d\n" % os.getpid())
    close([stdin, log, report])


def close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def show(words: list[str]) -> None:
    """The program's command line where others look for it, in place of ours."""
    start, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    text = "\0".join([sys.executable, "-m", *words]).encode()[: end - start - 1]
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def run(module: str, *words: str) -> None:
    sys.modules.pop(module, None)  # it is run as the main module
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # or all programs would draw the same numbers
    sys.argv[:] = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__" and (words := serve(socket.socket(fileno=int(sys.argv[1])))):
    run(*words)
