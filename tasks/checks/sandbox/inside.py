"""The sandbox from inside: a process that gives up its rights once, and for every part to be played starts a child that
gives up the rest. Plain Python, no packages. It reads nothing of what its children are given, so they inherit nothing.

Started by `outside.py` with a JSON argument {means, folders, hidden, readable, house, starter} and a socket as standard input.
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


def main() -> None:
    given = json.loads(sys.argv[1])
    sys.path[:] = [path for path in sys.path if path != given["house"]]
    if given["means"] != "bubblewrap":  # which ties it itself
        tie_to_starter(given["starter"])
    with suppress(FileNotFoundError):  # bubblewrap shows no /proc
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, these go first
    nobody = given["means"] == "namespaces" and os.geteuid() == 0
    if given["means"] == "namespaces":
        namespaces.enter_namespaces(given["folders"], given["hidden"])
    drop_rights(nobody)
    try:
        landlock.restrict_paths(given["readable"])
    except OSError:
        if given["means"] == "landlock":
            raise  # under the other means it is a second wall, which older kernels lack
    if given["packages"]:
        sys.path.append(given["packages"])
    for module in given["modules"]:
        importlib.import_module(module)  # here and once: it takes longer than most checks
    if given["means"] == "landlock":
        imports.prepare(given["readable"])
    serve_orders(given)


def serve_orders(given: dict) -> None:
    """Every message is an order and the descriptors for it; the answer is a descriptor of the process that plays it."""
    server = os.getpid()
    with socket.socket(fileno=0) as orders:
        while True:
            message, descriptors, _, _ = socket.recv_fds(orders, 1 << 16, 16)
            reap_children()
            if not message:
                return
            child = os.fork()
            if not child:
                orders.detach()
                play_part(given | json.loads(message), descriptors, server)
            process = os.pidfd_open(child)
            socket.send_fds(orders, [b"started"], [process])
            for descriptor in (*descriptors, process):
                os.close(descriptor)


def tie_to_starter(starter: int) -> None:
    """Ends with the process that started this one; at once, if that ended before it could be tied to it."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != starter:
        os._exit(1)


def reap_children() -> None:
    """Those that have ended. Not at once: until it is buried, a process's number is nobody else's."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def play_part(order: dict, descriptors: list[int], server: int) -> None:
    tie_to_starter(server)
    signal.setitimer(signal.ITIMER_REAL, order["seconds"] + 1)  # ends it wherever it is; it knows its deadline itself
    for place, descriptor in enumerate(descriptors[:2]):
        os.dup2(descriptor, place)
    try:
        confine_process(order, descriptors[2:])
        random.seed(0)  # chance must not decide a verdict
        PARTS[order["part"]](order, *descriptors[2:])
    finally:
        os._exit(0)


def confine_process(order: dict, kept: list[int]) -> None:
    """Limits, no other descriptors, then the filter of system calls. None of them can be taken off again."""
    limit_resources(order["memory_megabytes"], order["seconds"])
    for before, after in zip((2, *sorted(kept)), (*sorted(kept), 1 << 20), strict=True):
        os.closerange(before + 1, after)
    seccomp.restrict_calls(paths=order["means"] != "landlock")


def limit_resources(memory_megabytes: int, seconds: float) -> None:
    limits = {
        resource.RLIMIT_AS: memory_megabytes << 20,
        resource.RLIMIT_CPU: int(seconds) + 3,  # whoever started it has ended it by then
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, value in limits.items():
        resource.setrlimit(which, (value, value))


def drop_rights(to_nobody: bool) -> None:
    """All capabilities; in namespaces that root has made, root's name too. (Without namespaces the interpreter may lie where
    only its owner can read it.)"""
    for capability in range(64):
        try:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
        except OSError:
            break  # the kernel knows no further one, or we never had any
    if to_nobody:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    kernel.call_kernel("capset", header, (ctypes.c_uint32 * 6)())
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
