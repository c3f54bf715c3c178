"""The ledger's folder: small files with kernel locks, which the kernel releases when a process dies.

A process locks `gate` for the milliseconds of each access. The program that has a GPU locks `gpu-UUID`; a waiting
process locks its file in `tickets/`. `runs.json` holds the run time and rows of past programs by kind.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from infra.errors import BadInput
from infra.gpu_order import Waiting

HOUR = 3600.0
SILENT = 15.0  # seconds without an access after which a waiting process counts as suspended and is skipped
REREAD_SECONDS = 1.0  # seconds for which a ticket that was read is not read again
KINDS = 500  # kinds of programs whose run times are kept
MOST_TIMES = 10  # a past run predicts only jobs of up to 10 times its rows: a short run is mostly loading
UNKNOWN = {"what": "another program", "since": 0.0, "pid": 0, "progress": "", "seconds": None}


@dataclass(frozen=True)
class Ticket:
    """A place in the queue, valid as long as its lock is held."""

    path: Path
    lock: int

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.lock)


class LedgerFolder:
    def __init__(self, folder: Path):
        self.folder, self.tickets = folder, folder / "tickets"
        self.seen: dict[str, tuple[float, int]] = {}  # per progress file: time and rows done at our first look
        self.alive: dict[str, tuple[float, Waiting | None]] = {}  # per ticket: time of our last look; None: skipped

    def make(self) -> None:
        """Creates the folder with access only for this user, since others could lock GPUs or plant links in it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self.folder.lstat()
        if self.folder.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o077:
            raise BadInput(f"FUSE_LEDGER: {self.folder} is not a folder that only you can read; set another folder")
        self.tickets.mkdir(exist_ok=True)

    @contextmanager
    def gate(self, pause: Callable[[float], None] = time.sleep) -> Iterator[None]:
        with open(self.folder / "gate", "a") as file:
            while not try_lock(file.fileno()):
                pause(0.005)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)

    def draw(self, waiting: Waiting, since: float, urgency: int) -> Ticket:
        """Draws a place in the queue. Each link of the longest chain of steps that wait for this
        program counts as one hour of waiting."""
        path = self.tickets / f"{since - urgency * HOUR:020.6f}-{uuid4().hex}"
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try_lock(lock)
        write_note(lock, asdict(waiting))
        return Ticket(path, lock)

    def before(self, ticket: Ticket) -> list[Path]:
        """The tickets before this one. Also marks this ticket as active."""
        os.utime(ticket.path)
        return sorted(path for path in self.tickets.iterdir() if path.name < ticket.path.name)

    def ahead(self, ticket: Ticket) -> list[Waiting]:
        """The requests before this ticket. Reads each ticket at most once per second, since many processes may wait."""
        now, found = time.monotonic(), []
        for path in self.before(ticket):
            when, waiting = self.alive.get(path.name, (-REREAD_SECONDS, None))
            if now - when >= REREAD_SECONDS:
                waiting = self._read(path)
                self.alive[path.name] = now, waiting
            found += [waiting] if waiting else []
        return found

    def _read(self, path: Path) -> Waiting | None:
        """Reads a ticket; None for one that is gone, suspended, or unlocked because its process died (it is deleted)."""
        with suppress(FileNotFoundError), open(path, "rb") as file:
            if try_lock(file.fileno()):
                path.unlink()
            elif time.time() - path.stat().st_mtime < SILENT:
                note = json.loads(file.read())
                return Waiting(**note | {"usable": tuple(note["usable"])})
        return None

    def lock(self, uuid: str) -> int | None:
        """Locks a GPU; None if another process has it."""
        lock = os.open(self._file(uuid), os.O_CREAT | os.O_RDWR, 0o600)
        if try_lock(lock):
            return lock
        os.close(lock)
        return None

    def keep(self) -> int:
        """A shared lock on the folder: while a program holds it, systemd-tmpfiles does not delete the folder."""
        lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_SH)
        return lock

    def holder(self, uuid: str) -> dict:
        return UNKNOWN | (read_json(self._file(uuid)) or {})

    def seconds_left(self, uuid: str) -> float | None:
        """The minimum seconds until the program on a GPU ends, from its progress since our first look, otherwise from past
        runs of its kind; None: not known."""
        note = self.holder(uuid)
        if at := read_json(Path(note["progress"] or self.folder / "none")):
            now = time.time()
            first, before = self.seen.setdefault(note["progress"], (now, at["done"]))
            if at["done"] > before:
                return (at["total"] - at["done"]) * (now - first) / (at["done"] - before)
        return None if note["seconds"] is None else max(note["seconds"] - (time.time() - note["since"]), 0.0)

    def expected(self, kind: str, rows: int) -> tuple[float | None, float | None]:
        """The minimum and maximum run time in seconds, from the time per row of its kind. For an unknown kind the maximum
        comes from the slowest kind. Since loading takes time, no maximum is below the shortest run of any kind."""
        known = {
            name: run
            for name, run in (read_json(self.folder / "runs.json") or {}).items()
            if run[0] * MOST_TIMES >= rows
        }
        if not rows or not known:
            return None, None
        quickest = min(took for _, took in known.values())
        if kind in known:
            made, took = known[kind]
            return rows * took / made, max(rows * took / made, quickest)
        return None, max(rows * max(took / made for made, took in known.values()), quickest)

    def learn(self, kind: str, rows: int, seconds: float) -> None:
        """Records a run, unless it made less than half the rows of its kind's recorded run."""
        file = self.folder / "runs.json"
        known = read_json(file) or {}
        if rows * 2 >= known.pop(kind, [0])[0]:
            draft = file.with_suffix(".draft")
            draft.write_text(json.dumps(dict([*known.items(), (kind, [rows, seconds])][-KINDS:])))
            os.replace(draft, file)

    def _file(self, uuid: str) -> Path:
        return self.folder / f"gpu-{uuid.replace('/', '-')}"


def try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_note(lock: int, note: dict) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(note).encode(), 0)


def read_json(file: Path) -> dict | None:
    """The file's JSON; None if it is missing or incomplete, since a killed writer may leave half of it."""
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
