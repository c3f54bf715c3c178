"""The ledger's folder: small files, and the kernel's locks on them, which no death leaves behind.

`gate` is held for the milliseconds of a look; `gpu-UUID` by the program that has the GPU; `tickets/…` by who waits;
`runs.json` says how long programs of a kind have run, for how many rows. Everything is read and written behind the gate.
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
SILENT = 15.0  # seconds without a look after which a process that waits is passed over: somebody has suspended it
LIVES = 1.0  # seconds after which we look again whether somebody still waits
KINDS = 500  # of programs, whose runs are remembered
FEW = 10  # times as many rows: of those a short run says too little, which is mostly loading
UNKNOWN = {"what": "another program", "since": 0.0, "pid": 0, "progress": "", "seconds": None}


@dataclass(frozen=True)
class Ticket:
    """A place in the queue, held for as long as its lock is."""

    path: Path
    lock: int

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.lock)


class LedgerFolder:
    def __init__(self, place: Path):
        self.place, self.tickets = place, place / "tickets"
        self.seen: dict[str, tuple[float, int]] = {}  # of a file of progress, when it first said how much was done
        self.alive: dict[str, tuple[float, Waiting | None]] = {}  # of a ticket, when we looked; None: it is passed over

    def make(self) -> None:
        """For this user alone: others could take our GPUs there, or leave us links to our own files."""
        self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = self.place.lstat()
        if self.place.is_symlink() or there.st_uid != os.getuid() or there.st_mode & 0o077:
            raise BadInput(f"FUSE_LEDGER: {self.place} is not a folder that you alone can read; name another one")
        self.tickets.mkdir(exist_ok=True)

    @contextmanager
    def gate(self, pause: Callable[[float], None] = time.sleep) -> Iterator[None]:
        with open(self.place / "gate", "a") as file:
            while not try_lock(file.fileno()):
                pause(0.005)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)

    def draw(self, waiting: Waiting, since: float, urgency: int) -> Ticket:
        """A place in the queue. A step that waits for this program is worth an hour of waiting."""
        path = self.tickets / f"{since - urgency * HOUR:020.6f}-{uuid4().hex}"
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try_lock(lock)
        write_note(lock, asdict(waiting))
        return Ticket(path, lock)

    def before(self, ticket: Ticket) -> list[Path]:
        """The tickets before this one, whose own look this is."""
        os.utime(ticket.path)
        return sorted(path for path in self.tickets.iterdir() if path.name < ticket.path.name)

    def ahead(self, ticket: Ticket) -> list[Waiting]:
        """Who waits before this ticket. What was looked at a moment ago is not read again: many may wait and look."""
        now, found = time.monotonic(), []
        for path in self.before(ticket):
            when, waiting = self.alive.get(path.name, (-LIVES, None))
            if now - when >= LIVES:
                waiting = self._read(path)
                self.alive[path.name] = now, waiting
            found += [waiting] if waiting else []
        return found

    def _read(self, path: Path) -> Waiting | None:
        """A ticket that is not locked is of a process that died; one that is gone has just had its turn."""
        with suppress(FileNotFoundError), open(path, "rb") as file:
            if try_lock(file.fileno()):
                path.unlink()
            elif time.time() - path.stat().st_mtime < SILENT:
                note = json.loads(file.read())
                return Waiting(**note | {"usable": tuple(note["usable"])})
        return None

    def lock(self, uuid: str) -> int | None:
        """The lock of a GPU; None where somebody has it."""
        lock = os.open(self._file(uuid), os.O_CREAT | os.O_RDWR, 0o600)
        if try_lock(lock):
            return lock
        os.close(lock)
        return None

    def keep(self) -> int:
        """A lock that tells systemd-tmpfiles to let the folder be, however long a program runs."""
        lock = os.open(self.place, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_SH)
        return lock

    def holder(self, uuid: str) -> dict:
        return UNKNOWN | (read_json(self._file(uuid)) or {})

    def seconds_left(self, uuid: str) -> float | None:
        """That the program on a GPU still runs at least: by how fast its progress was since we first saw it, or by what its
        kind has taken; None: not known."""
        note = self.holder(uuid)
        if at := read_json(Path(note["progress"] or self.place / "none")):
            now = time.time()
            first, before = self.seen.setdefault(note["progress"], (now, at["done"]))
            if at["done"] > before:
                return (at["total"] - at["done"]) * (now - first) / (at["done"] - before)
        return None if note["seconds"] is None else max(note["seconds"] - (time.time() - note["since"]), 0.0)

    def expected(self, kind: str, rows: int) -> tuple[float | None, float | None]:
        """How many seconds a program will run, at least and at most: by what its kind takes for a row, or at most by the
        slowest kind that is known. Loading takes its time for few rows too: none is expected to be quicker than any was."""
        known = {name: run for name, run in (read_json(self.place / "runs.json") or {}).items() if run[0] * FEW >= rows}
        if not rows or not known:
            return None, None
        quickest = min(took for _, took in known.values())
        if kind in known:
            made, took = known[kind]
            return rows * took / made, max(rows * took / made, quickest)
        return None, max(rows * max(took / made for made, took in known.values()), quickest)

    def learn(self, kind: str, rows: int, seconds: float) -> None:
        """A run of about the longest that its kind has had."""
        file = self.place / "runs.json"
        known = read_json(file) or {}
        if rows * 2 >= known.pop(kind, [0])[0]:
            draft = file.with_suffix(".draft")
            draft.write_text(json.dumps(dict([*known.items(), (kind, [rows, seconds])][-KINDS:])))
            os.replace(draft, file)

    def _file(self, uuid: str) -> Path:
        return self.place / f"gpu-{uuid.replace('/', '-')}"


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
    """None where there is nothing whole to read: a writer that was killed leaves half of it."""
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
