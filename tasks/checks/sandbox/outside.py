"""The sandbox for model-written Python, seen from outside: starts processes that can compute and do nothing else.

Every such process has resource limits, no capabilities, and a list of allowed system calls (`seccomp.py`): it cannot write
files, start processes, programs or threads, use the network, or send signals. Three means hide the files, in this order:
`bubblewrap` if it is installed, new namespaces (root, or a kernel with unprivileged user namespaces), Landlock. Each is tested
by a simulated attack (`probe.py`): the first that withstands it is used. If none does, no program is run.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.errors import BadInput
from tasks.checks.packages import list_modules
from tasks.checks.sandbox.folders import interpreter_path, library_folders, package_folders, paths_without
from tasks.checks.sandbox.waiting import is_readable

MEANS = ("bubblewrap", "namespaces", "landlock")
HOUSE = Path(__file__).parents[3]  # the project's root
START = "import sys; sys.path.insert(0, {house!r}); from tasks.checks.sandbox.inside import main; main()"
INSIDE = "/house"  # the folder in which bubblewrap shows `tasks/checks`
VARIABLES = {
    "PYTHONHASHSEED": "0",  # a verdict must not depend on the order of a set
    "OPENBLAS_NUM_THREADS": "1",  # threads are not allowed
    "OMP_NUM_THREADS": "1",
}
PROBE_SECONDS, END_SECONDS = 20, 5
PING = b"ping"  # a message that the server only answers


@dataclass(frozen=True)
class Limits:
    """Limits of each of the two processes of a check: the response's program, and its tests."""

    seconds: float = 10
    memory_megabytes: int = 1024


class Sandbox:
    """A server inside the sandbox that starts processes. Threads may share it. If the server has died, the next order starts
    another one. It ends when it is closed or this process ends."""

    def __init__(self, means: str, packages: Path | None = None):
        self.means, self.packages, self.turn = means, packages, threading.Lock()
        self.servers = 0  # how many servers were started
        self.start_server()

    def start_server(self) -> None:
        house = INSIDE if self.means == "bubblewrap" else str(HOUSE)
        command = [interpreter_path(), "-s", "-S", "-P", "-B", "-c", START.format(house=house)]
        self.line, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.server = subprocess.Popen(
            [
                *(bubblewrap_command(self.packages) if self.means == "bubblewrap" else ()),
                *command,
                json.dumps(describe_sandbox(self.means, house, self.packages)),
            ],
            stdin=inside.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=VARIABLES,
            start_new_session=True,
        )
        inside.close()
        self.servers += 1

    def end_server(self, seconds: float) -> None:
        """Closes the server's socket, waits for its exit, then kills what is left."""
        self.line.close()
        with suppress(subprocess.TimeoutExpired):
            self.server.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_) -> None:
        self.end_server(END_SECONDS)

    def start(self, part: str, limits: Limits, descriptors: list[int], **more: object) -> int:
        """Starts a part of `inside.py` in a new process and returns its pidfd, for `end_process`. The first two descriptors
        become its standard input and output. OSError if no server can be started."""
        order = json.dumps({"part": part, **asdict(limits), **more}).encode()
        with self.turn:
            found = self.exchange(order, descriptors)
            if found is None:
                self.end_server(0)
                self.start_server()
                found = self.exchange(order, descriptors)
        if not found:
            raise ConnectionError(f"the sandbox by {self.means} has ended")
        return found[0]

    def exchange(self, message: bytes, descriptors: list[int]) -> list[int] | None:
        """Returns the descriptors in the server's answer; None if the server has died."""
        try:
            socket.send_fds(self.line, [message], descriptors)
            answer, found, _, _ = socket.recv_fds(self.line, 64, 1)
        except ConnectionError:
            return None
        return found if answer else None

    def is_served_by(self, server: int) -> bool:
        """True if the server with this number (see `servers`) is alive. A server that dies takes all its processes with it."""
        with self.turn:
            return self.servers == server and self.exchange(PING, []) is not None

    def weakness(self) -> str:
        """Runs the simulated attack and describes what succeeded; empty if the sandbox holds."""
        with tempfile.TemporaryDirectory() as outside, socket.create_server(("127.0.0.1", 0)) as server:
            secret = Path(outside, "secret")
            secret.write_text("secret")
            secret.chmod(0o666)
            Path(outside).chmod(0o777)
            secrets = [str(secret), "/etc/passwd", "/proc/self/environ", "/proc/1/environ"]
            secrets += [str(HOUSE / "pyproject.toml")]
            attack = {
                "secrets": secrets,
                "closed": (outside, "/etc", "/home", "/proc", *package_folders()),
                "address": server.getsockname(),
            }
            report = self.run_probe(attack)
        return ", ".join(f"it {what}" for what in json.loads(report)["worked"]) if report else "it does not start"

    def run_probe(self, attack: dict) -> bytes:
        reading, writing = os.pipe()
        try:
            process = self.start("probe", Limits(PROBE_SECONDS, 512), [0, writing], **attack)
        except OSError:
            return b""
        finally:
            os.close(writing)
        report = os.read(reading, 1 << 16) if is_readable(reading, PROBE_SECONDS) else b""
        os.close(reading)
        end_process(process)
        return report


def end_process(process: int) -> None:
    """Kills a process and waits until it has ended."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    is_readable(process)
    os.close(process)


def describe_sandbox(means: str, house: str, packages: Path | None) -> dict:
    """What a server must know; see `inside.py`."""
    hidden = package_folders()
    shown = [str(packages)] if packages else []
    return {
        "means": means,
        "folders": [*library_folders(), *shown],
        "hidden": hidden,
        "readable": [*(path for folder in library_folders() for path in paths_without(folder, set(hidden))), *shown],
        "house": house,
        "starter": os.getpid(),
        "packages": "".join(shown),
        "modules": list_modules(packages) if packages else [],
    }


def find_sandbox(means: Sequence[str] = MEANS, packages: Path | None = None) -> Sandbox:
    """Returns the first sandbox that holds on this machine; BadInput if none does."""
    weak = {} if sys.platform == "linux" else {name: "needs Linux" for name in means}
    for name in means if not weak else ():
        if name == "bubblewrap" and shutil.which("bwrap") is None:
            weak[name] = "not installed"
            continue
        sandbox = Sandbox(name, packages)
        weak[name] = sandbox.weakness()
        if not weak[name]:
            return sandbox
        sandbox.__exit__()
    reasons = "; ".join(f"{name}: {weakness}" for name, weakness in weak.items())
    raise BadInput(f"checks: programs that models wrote cannot be run safely on this machine ({reasons})")


def bubblewrap_command(packages: Path | None) -> list[str]:
    """The command for an empty, read-only file system with the interpreter's folders and `tasks/checks`."""
    seen = [*library_folders(), str(Path(interpreter_path()).parent), *([str(packages)] if packages else [])]
    shown = [path for folder in seen for path in ("--ro-bind", folder, folder)]
    covered = [word for place in package_folders() for word in ("--tmpfs", place, "--remount-ro", place)]
    apart = [f"--unshare-{what}" for what in ("user", "pid", "net", "ipc", "uts", "cgroup-try")]
    room = ["--ro-bind", str(HOUSE / "tasks/checks"), f"{INSIDE}/tasks/checks", "--dev-bind", "/dev/null", "/dev/null"]
    ending = ["--remount-ro", "/", "--die-with-parent", "--cap-drop", "ALL", "--chdir", "/", "--"]
    return [shutil.which("bwrap") or "bwrap", *apart, *shown, *covered, *room, *ending]
