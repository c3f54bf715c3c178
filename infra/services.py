"""Starts long-running processes on one machine, restarts those that die, and ends all of them.

A process belongs to a stack if its environment contains the stack's mark. So it can be found and ended even if its
starter was killed, and in any session or process group.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK, NAME = "FUSE_STACK", "FUSE_SERVICE"
PATIENCE = 20.0  # seconds that a service has to end by itself
LOG_BYTES = 32 * 2**20  # largest size of a log before it is moved to one backup
PAUSES = (0.0, 1.0, 5.0, 15.0, 60.0)  # seconds before each restart; from the first again after a minute of life


@dataclass(frozen=True)
class Service:
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


class Services:
    """The services of one stack, identified by its folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.running: dict[str, tuple[Service, subprocess.Popen]] = {}
        self.began: dict[str, float] = {}
        self.deaths: dict[str, int] = {}
        self.again_at: dict[str, float] = {}

    def start(self, service: Service) -> None:
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        with self.log(service.name).open("ab") as log:
            process = subprocess.Popen(
                service.command,
                env={**service.environment, MARK: str(self.folder), NAME: service.name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[service.name] = service, process
        self.began[service.name] = time.monotonic()

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def wait_until(self, ready: Callable[[], bool], name: str, seconds: float) -> None:
        """Raises RuntimeError with the end of the log if the service dies before it is ready or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.running[name][1].poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(self.log(name).read_text(errors="replace").splitlines()[-10:])
                raise RuntimeError(f"{name} did not start; the end of {self.log(name)}:\n{tail}")
            time.sleep(0.2)

    def revive(self) -> None:
        """Restarts dead services. First ends the processes that a dead service left running."""
        now = time.monotonic()
        for name, (service, process) in list(self.running.items()):
            if process.poll() is None:
                continue
            if name not in self.again_at:
                end_processes(find_marked(self.folder, name))
                self.deaths[name] = 0 if now - self.began[name] > 60 else self.deaths.get(name, 0) + 1
                self.again_at[name] = now + PAUSES[min(self.deaths[name], len(PAUSES) - 1)]
            if now >= self.again_at[name]:
                del self.again_at[name]
                self.start(service)

    def shorten_logs(self) -> None:
        """Moves large logs to a backup. The services open their logs in append mode, so truncating is safe."""
        for log in map(self.log, self.running):
            if log.stat().st_size > LOG_BYTES:
                shutil.copyfile(log, log.with_suffix(".log.before"))
                os.truncate(log, 0)

    def stop(self) -> None:
        """Stops the services in reverse order of start, since later ones depend on earlier ones. Terminates each service,
        then kills its remaining processes."""
        for name, (_, process) in reversed(self.running.items()):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            end_processes(find_marked(self.folder, name))
            process.wait()


def find_marked(folder: Path, name: str | None = None) -> list[psutil.Process]:
    """All processes of the stack, or of one of its services."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            if environment.get(MARK) == str(folder) and name in (None, environment.get(NAME)):
                found.append(process)
    return found


def end_processes(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=PATIENCE)
