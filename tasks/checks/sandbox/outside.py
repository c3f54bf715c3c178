"""The sandbox for model-written Python, seen from outside: starts processes that can compute and do nothing else.

Every such process has resource limits, no capabilities, and a list of allowed system calls (`seccomp.py`): it cannot write
files, start processes, programs or threads, use the network, or send signals. Three means hide the files, in this order:
`bubblewrap` if it is installed, new namespaces (root, or a kernel with unprivileged user namespaces), Landlock. Each is tested
by a simulated attack (`probe.py`): the first that withstands it is used. If none does, no program is run.
"""

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.errors import BadInput
from tasks.checks.packages import list_modules
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


@dataclass(frozen=True)
class Limits:
    """Limits of each of the two processes of a check: the response's program, and its tests."""

    seconds: float = 10
    memory_megabytes: int = 1024


class Sandbox:
    """A server inside the sandbox that starts processes. Threads may share it. It ends when it is closed or this process ends."""

    def __init__(self, means: str, packages: Path | None = None):
        self.means, self.turn = means, threading.Lock()
        house = INSIDE if means == "bubblewrap" else str(HOUSE)
        given = {
            "means": means,
            "folders": library_folders(),
            "hidden": package_folders(),
            "house": house,
            "starter": os.getpid(),
        }
        given["readable"] = [
            path for folder in library_folders() for path in paths_without(folder, set(package_folders()))
        ]
        given |= {"packages": "", "modules": []}
        if packages:
            given |= {"packages": str(packages), "modules": list_modules(packages)}
            given["folders"].append(str(packages))
            given["readable"].append(str(packages))
        command = [interpreter_path(), "-s", "-S", "-P", "-B", "-c", START.format(house=house), json.dumps(given)]
        self.line, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.server = subprocess.Popen(
            [*(bubblewrap_command(packages) if means == "bubblewrap" else ()), *command],
            stdin=inside.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=VARIABLES,
            start_new_session=True,
        )
        inside.close()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_) -> None:
        self.line.close()  # the server exits when its socket is closed
        with suppress(subprocess.TimeoutExpired):
            self.server.wait(END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()

    def start(self, part: str, limits: Limits, descriptors: list[int], **more: object) -> int:
        """Starts a part of `inside.py` in a new process and returns its pidfd, for `end_process`. The first two descriptors
        become its standard input and output. OSError if the server has ended."""
        order = json.dumps({"part": part, **asdict(limits), **more}).encode()
        with self.turn:
            socket.send_fds(self.line, [order], descriptors)
            _, found, _, _ = socket.recv_fds(self.line, 64, 1)
        if not found:
            raise ConnectionError(f"the sandbox by {self.means} has ended")
        return found[0]

    def weakness(self) -> str:
        """Runs the simulated attack and describes what succeeded; empty if the sandbox holds."""
        with tempfile.TemporaryDirectory() as outside, socket.create_server(("127.0.0.1", 0)) as server:
            secret = Path(outside, "secret")
            secret.write_text("secret")
            secret.chmod(0o666)
            Path(outside).chmod(0o777)
            secrets = [str(secret), "/etc/passwd", "/proc/self/environ", "/proc/1/environ"]
            secrets += [str(HOUSE / "pyproject.toml")]
            told = {
                "secrets": secrets,
                "closed": (outside, "/etc", "/home", "/proc", *package_folders()),
                "address": server.getsockname(),
            }
            said = self.probed(told)
        return ", ".join(f"it {what}" for what in json.loads(said)["worked"]) if said else "it does not start"

    def probed(self, told: dict) -> bytes:
        heard, says = os.pipe()
        try:
            process = self.start("probe", Limits(PROBE_SECONDS, 512), [0, says], **told)
        except OSError:
            return b""
        finally:
            os.close(says)
        said = os.read(heard, 1 << 16) if is_readable(heard, PROBE_SECONDS) else b""
        os.close(heard)
        end_process(process)
        return said


def end_process(process: int) -> None:
    """Kills a process and waits until it has ended."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    is_readable(process)
    os.close(process)


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


def interpreter_path() -> str:
    return os.path.realpath(sys.executable)


def library_folders() -> list[str]:
    """The folders that the interpreter needs: its library and the system's shared libraries."""
    machine = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    shared = (
        [f"/lib/{machine}", f"/usr/lib/{machine}"] if os.path.isdir(f"/usr/lib/{machine}") else ["/lib", "/usr/lib"]
    )
    own = [sysconfig.get_path("stdlib")]
    own += [sysconfig.get_config_var("LIBDIR")] if sys.base_prefix != "/usr" else []
    found = [folder for folder in {*own, *shared, "/lib64", "/usr/lib64"} if os.path.isdir(folder)]
    return sorted(one for one in found if not any(one.startswith(f"{other}/") for other in found))


def package_folders() -> list[str]:
    """Folders of installed packages in the library folders. They are hidden: a benchmark with its answers may be there."""
    places = (
        place
        for folder in library_folders()
        for each in ("", "python*/")
        for place in Path(folder).glob(f"{each}*-packages")
    )
    return sorted({str(place) for place in places})


def paths_without(path: str, hidden: set[str]) -> list[str]:
    """The path itself, or the visible paths in it if a part of it is hidden."""
    if not any(Path(place).is_relative_to(path) for place in hidden):
        return [path]
    inside = [f"{path}/{name}" for name in os.listdir(path)]
    return [kept for one in inside if one not in hidden and os.path.exists(one) for kept in paths_without(one, hidden)]


def bubblewrap_command(packages: Path | None) -> list[str]:
    """The command for an empty, read-only file system with the interpreter's folders and `tasks/checks`."""
    seen = [*library_folders(), str(Path(interpreter_path()).parent), *([str(packages)] if packages else [])]
    shown = [path for folder in seen for path in ("--ro-bind", folder, folder)]
    covered = [word for place in package_folders() for word in ("--tmpfs", place, "--remount-ro", place)]
    apart = [f"--unshare-{what}" for what in ("user", "pid", "net", "ipc", "uts", "cgroup-try")]
    room = ["--ro-bind", str(HOUSE / "tasks/checks"), f"{INSIDE}/tasks/checks", "--dev-bind", "/dev/null", "/dev/null"]
    ending = ["--remount-ro", "/", "--die-with-parent", "--cap-drop", "ALL", "--chdir", "/", "--"]
    return [shutil.which("bwrap") or "bwrap", *apart, *shown, *covered, *room, *ending]
