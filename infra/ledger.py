"""Records which program uses which GPUs of this machine: one ledger for all processes of a user.

A GPU is taken as long as a living process holds the lock on its file. A program inherits the locks from its launcher, so
a killed launcher or program never leaves a GPU taken or frees it too early. Programs wait in the order of their tickets;
`infra/gpu_order.py` decides which program may go first.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.errors import BadInput
from infra.gpu_order import Waiting, choose_gpus
from infra.gpus import Gpu
from infra.ledger_folder import LedgerFolder, Ticket, write_note

POLL_SECONDS = (0.05, 0.5)  # seconds: for the first in the queue, and for those far behind
MESSAGE_SECONDS = 30.0  # minimum seconds between two messages about a wait


@dataclass(frozen=True)
class Request:
    """The GPUs that a program asks for, and its place in the queue."""

    gpus: int = 0
    what: str = "a program"  # its name in messages to other waiting programs
    urgency: int = 0  # length of the longest chain of steps that depend on it
    since: float = 0.0  # time of its first request; a restarted program keeps its place. 0: now
    rows: int = 0  # number of rows that it makes; 0: not known
    kind: str = ""  # programs of one kind need the same time per row
    progress: str = ""  # path of its progress file


@dataclass(frozen=True)
class Grant:
    """GPUs that are taken for a program, and the locks that the program inherits."""

    gpus: tuple[Gpu, ...] = ()
    locks: tuple[int, ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """Variables that show the program only these GPUs, in the driver's order."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(gpu.name for gpu in self.gpus), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


class Ledger:
    """The ledger, seen from one process: it hands out only the GPUs that this process may use."""

    def __init__(self, gpus: list[Gpu], folder: Path):
        self.gpus, self.folder = {gpu.uuid: gpu for gpu in gpus}, LedgerFolder(folder)
        if gpus:
            self.folder.make()

    @contextmanager
    def taken(
        self, request: Request, pause: Callable[[float], None] = time.sleep, on_wait: Callable[[str], None] = print
    ) -> Iterator[Grant]:
        """Waits for the program's turn and takes its GPUs during the block. An exception from `pause` ends the wait."""
        if request.gpus > len(self.gpus):
            raise BadInput(f"how: {request.what} needs {request.gpus} GPUs, this machine has {len(self.gpus)}")
        granted = self._wait(request, pause, on_wait) if request.gpus else Grant()
        try:
            yield granted
        finally:
            for lock in granted.locks:
                os.close(lock)  # no explicit unlock: a process that the program left behind may still use the GPU

    def learn(self, request: Request, seconds: float) -> None:
        """Records the run time of a program of this kind."""
        if self.gpus and request.gpus and request.rows:
            with self.folder.gate():
                self.folder.learn(request.kind, request.rows, seconds)

    def _wait(self, request: Request, pause: Callable[[float], None], on_wait: Callable[[str], None]) -> Grant:
        waiting = Waiting(request.gpus, tuple(self.gpus), *self.folder.expected(request.kind, request.rows))
        with self.folder.gate(pause):
            ticket = self.folder.draw(waiting, request.since or time.time(), request.urgency)
        last_text, reported_at = "", -MESSAGE_SECONDS
        try:
            while True:
                with self.folder.gate(pause):
                    if granted := self._try(request, waiting, ticket):
                        return granted
                    before = len(self.folder.before(ticket))
                    recent = time.monotonic() - reported_at < MESSAGE_SECONDS
                    text = last_text if recent else self._describe_wait(waiting, before)
                if text != last_text:
                    last_text, reported_at = text, time.monotonic()
                    on_wait(text)
                pause(min(POLL_SECONDS[0] * (1 + before), POLL_SECONDS[1]))
        finally:
            ticket.drop()

    def _try(self, request: Request, waiting: Waiting, ticket: Ticket) -> Grant | None:
        """Takes all the GPUs that the program needs, or none. Free GPUs stay locked until the choice is made."""
        locks = self._free(waiting.usable)
        try:
            if len(locks) < waiting.gpus:
                return None
            ahead = self.folder.ahead(ticket)
            others = {uuid for one in ahead for uuid in one.usable} - self.gpus.keys()
            locks |= self._free(others)
            taken = ({*waiting.usable} | others) - locks.keys()
            ends = {uuid: self.folder.seconds_left(uuid) if ahead else None for uuid in taken}
            chosen = choose_gpus(waiting, ahead, ends)
            note = {"what": request.what, "since": time.time(), "pid": os.getpid(), "progress": request.progress}
            for uuid in chosen:
                write_note(locks[uuid], note | {"seconds": waiting.at_least})
            if chosen:
                held = [locks.pop(uuid) for uuid in chosen]
                return Grant(tuple(self.gpus[uuid] for uuid in chosen), (*held, self.folder.keep()))
            return None
        finally:
            for lock in locks.values():
                os.close(lock)

    def _free(self, uuids: Collection[str]) -> dict[str, int]:
        return {uuid: lock for uuid in uuids if (lock := self.folder.lock(uuid)) is not None}

    def _describe_wait(self, waiting: Waiting, before: int) -> str:
        """The message for a person who waits: which programs have the GPUs, and how many wait before this one."""
        holders: Counter[str] = Counter()
        for uuid in waiting.usable:
            if (lock := self.folder.lock(uuid)) is None:
                note = self.folder.holder(uuid)
                holders[f"{note['what']} (process {note['pid']})"] += 1
            else:
                os.close(lock)
        free, number = len(waiting.usable) - holders.total(), waiting.gpus
        needed = f"{number} GPUs" if number > 1 else "1 GPU"
        reasons = [f"{program} has {taken}" for program, taken in holders.items()]
        reasons += [f"{before} waiting before it"] if before else []
        return f"waits for {needed}, {free} of {len(waiting.usable)} free: {', '.join(reasons)}"
