"""A simulated attack: tries actions that a response's program must not be able to do, and reports which succeeded."""

import json
import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from tasks.checks.sandbox import kernel


def play_probe(order: dict) -> None:
    """`secrets` are files outside the sandbox and `closed` are folders there; the first of each is temporary and open to all
    users. `address` is a listening socket. A successful attempt leaves nothing behind."""
    attempts: dict[str, Callable[[], object]] = {
        **{f"reads {path}": Path(path).read_bytes for path in order["secrets"]},
        **{f"sees {path}": partial(os.stat, path) for path in (*order["secrets"][:2], "/proc/1")},
        **{f"follows {path}": partial(os.readlink, path) for path in read_links(order)},
        "opens a path alone": lambda: os.open("/", os.O_PATH),
        **{f"lists {path}": partial(list_folder, path) for path in order["closed"]},
        **{f"changes {path}": partial(os.open, path, os.O_WRONLY) for path in (order["secrets"][0], os.__file__)},
        "makes a file": Path(order["closed"][0], "made").touch,
        "starts a process": lambda: os.fork() or os._exit(0),
        "starts a program": starts_a_program,
        "opens a socket": lambda: socket.create_connection(order["address"], 1),
        "opens a socket of the machine": lambda: socket.socket(socket.AF_UNIX),
        "signals its starter": lambda: os.kill(order["starter"], 0),
        "signals everybody": lambda: os.kill(-1, 0),
        "makes a memory file": lambda: os.memfd_create("x"),
        "makes namespaces": lambda: kernel.unshare(0x10000000),
        "raises its limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
        "takes memory": lambda: bytearray(order["memory_megabytes"] << 20),
        "becomes root": lambda: os.setuid(0),
    }
    worked = [name for name, attempt in attempts.items() if succeeds(attempt)]
    os.write(1, json.dumps({"worked": worked}).encode())


def read_links(order: dict) -> list[str]:
    return [f"/proc/{process}/exe" for process in (order["starter"], os.getppid(), "self")]


def list_folder(folder: str) -> None:
    """Raises if the folder is empty: an empty mount that covers a folder reveals nothing."""
    os.listdir(folder)[0]


def starts_a_program() -> None:
    """Starts a program that does not exist: FileNotFoundError means that the kernel allows the call."""
    with suppress(FileNotFoundError):
        os.execv("/nowhere", ["nowhere"])


def succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, MemoryError, LookupError, ValueError):
        return False
    return True
