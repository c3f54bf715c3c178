"""The server inside the sandbox. It drops its rights once, then starts a child for each order; the child drops the remaining
rights. Uses only the standard library. The server never reads the data of its children, so they inherit none.

`outside.py` starts it with a JSON argument {means, folders, hidden, readable, house, starter, packages, modules} and a socket as
standard input.
"""

import ctypes
import importlib
import json
import os
import random
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from tasks.checks.sandbox import (
    candidate,
    comparing,
    examiner,
    imports,
    kernel,
    landlock,
    namespaces,
    probe,
    script,
    seccomp,
)

PARTS = {
    "candidate": candidate.play_candidate,
    "comparing": comparing.play_comparing,
    "examiner": examiner.play_examiner,
    "probe": probe.play_probe,
    "script": script.play_script,
}
NOBODY = 65534
OFTEN_IMPORTED = (
    "bisect",
    "copy",
    "functools",
    "heapq",
    "itertools",
    "operator",
    "random",
    "statistics",
    "string",
    "typing",
)


def main() -> None:
    given = json.loads(sys.argv[1])
    sys.path[:] = [path for path in sys.path if path != given["house"]]
    if given["means"] != "bubblewrap":  # bubblewrap has --die-with-parent
        tie_to_starter(given["starter"])
    with suppress(FileNotFoundError):  # bubblewrap shows no /proc
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, the kernel kills these first
    nobody = given["means"] == "namespaces" and os.geteuid() == 0
    if given["means"] == "namespaces":
        namespaces.enter_namespaces(given["folders"], given["hidden"])
    drop_rights(nobody)
    try:
        landlock.restrict_paths(given["readable"])
    except OSError:
        if given["means"] == "landlock":
            raise  # for the other means it is an additional wall, which older kernels lack
    if given["packages"]:
        sys.path.append(given["packages"])
    for module in (*OFTEN_IMPORTED, *given["modules"]):
        importlib.import_module(module)  # once, before the fork: an import takes longer than most checks
    if given["means"] == "landlock":
        imports.prepare(given["readable"])
    serve_orders(given)


def serve_orders(given: dict) -> None:
    """Starts a child for each message, which is an order with its descriptors. Answers with a pidfd of the child."""
    server = os.getpid()
    with socket.socket(fileno=0) as orders:
        while True:
            message, descriptors, _, _ = socket.recv_fds(orders, 1 << 16, 16)
            reap_children()
            if not message:
                return
            if message == b"ping":  # the starter asks whether this process is alive
                orders.send(message)
                continue
            child = os.fork()
            if not child:
                orders.detach()
                play_part(given | json.loads(message), descriptors, server)
            process = os.pidfd_open(child)
            socket.send_fds(orders, [b"started"], [process])
            for descriptor in (*descriptors, process):
                os.close(descriptor)


def tie_to_starter(starter: int) -> None:
    """Makes this process die with its parent. Exits at once if the parent has already died."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != starter:
        os._exit(1)


def reap_children() -> None:
    """Reaps ended children, but only at the next order: the kernel does not reuse the process id of an unreaped child."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def play_part(order: dict, descriptors: list[int], server: int) -> None:
    tie_to_starter(server)
    signal.setitimer(signal.ITIMER_REAL, order["seconds"] + 1)  # kills a part that does not end by its own deadline
    for place, descriptor in enumerate(descriptors[:2]):
        os.dup2(descriptor, place)
    try:
        confine_process(order, descriptors[2:])
        random.seed(0)  # a verdict must not depend on chance
        PARTS[order["part"]](order, *descriptors[2:])
    finally:
        os._exit(0)  # a child must never return into the server's loop


def confine_process(order: dict, kept: list[int]) -> None:
    """Sets resource limits, closes other descriptors, then filters system calls. The process cannot undo any of it."""
    limit_resources(order["memory_megabytes"], order["seconds"])
    for before, after in zip((2, *sorted(kept)), (*sorted(kept), 1 << 20), strict=True):
        os.closerange(before + 1, after)
    seccomp.restrict_calls(paths=order["means"] != "landlock")


def limit_resources(memory_megabytes: int, seconds: float) -> None:
    limits = {
        resource.RLIMIT_AS: memory_megabytes << 20,
        resource.RLIMIT_CPU: int(seconds) + 3,  # a fallback: the starter kills it earlier
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, value in limits.items():
        resource.setrlimit(which, (value, value))


def drop_rights(to_nobody: bool) -> None:
    """Drops all capabilities. In namespaces made by root, also changes to the user nobody; otherwise not, because the
    interpreter may be in a folder that only its owner can read."""
    for capability in range(64):
        try:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
        except OSError:
            break  # the kernel has no further capability, or this process may not drop any
    if to_nobody:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    kernel.call_kernel("capset", header, (ctypes.c_uint32 * 6)())
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
