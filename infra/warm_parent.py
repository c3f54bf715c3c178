"""The parent of programs that start warm: it imports a program's module and forks.

`python -m infra.warm_parent SOCKET`. Each byte on the socket brings descriptors: an order (`words` of the command line,
`environment`), the program's standard input, its log, a pipe for its process id and exit code (one line each), and locks
that the program keeps open. The parent reports nothing if it may not fork: it has threads, has begun to use a GPU, or
could not import the module (the program then starts normally and reports the error). It only imports these modules.
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
DRIVERS = ("/dev/nvidia", "/dev/kfd", "/dev/dxg")  # devices of NVIDIA, AMD and WSL


def serve(channel: socket.socket) -> list[str]:
    """In a forked program: returns the words of its command line. In the parent: returns [] when the channel closes."""
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
    except Exception:  # the program will raise the same error and write it into its log
        return False
    gc.collect()
    gc.freeze()  # otherwise each collection in a program would copy the memory that it shares with us
    return len(os.listdir("/proc/self/task")) == 1 and not uses_gpu()


def uses_gpu() -> bool:
    """True if a GPU driver has open devices in this process, since a driver does not survive a fork."""
    return any(str(one.resolve()).startswith(DRIVERS) for one in Path("/proc/self/fd").iterdir())


def attend(request: dict, stdin: int, log: int, report: int, *locks: int) -> None:
    """Forks again and returns in the program. The process in between waits for the program and reports its exit code, since
    only a parent can wait for its child."""
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
    """Shows the program's command line in process listings instead of ours."""
    start, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    text = "\0".join([sys.executable, "-m", *words]).encode()[: end - start - 1]
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def run(module: str, *words: str) -> None:
    sys.modules.pop(module, None)  # runpy loads it again as the main module
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # otherwise all programs would draw the same numbers
    sys.argv[:] = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__" and (words := serve(socket.socket(fileno=int(sys.argv[1])))):
    run(*words)
