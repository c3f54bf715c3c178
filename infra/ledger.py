"""Which program has which GPUs of this machine: one ledger for all processes of a user, whatever started them.

A GPU is taken as long as a process lives that holds the lock on its file, and a program inherits the locks of the launcher
that started it: no death leaves a GPU taken, and none frees one too soon. Programs wait in the order of their tickets;
`infra/gpu_order.py` says who may pass.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.errors import BadInput
from infra.gpu_order import Waiting, choose
from infra.gpus import Gpu
from infra.ledger_folder import LedgerFolder, Ticket, write_note

LOOK_AGAIN = (0.05, 0.5)  # seconds: for the first in the queue, and for those far behind
TELL_AGAIN = 30.0  # seconds, at least, between two words on who has what


@dataclass(frozen=True)
class Request:
    """What a program asks for."""

    gpus: int = 0
    what: str = "a program"  # as others who wait are told
    urgency: int = 0  # how many steps of its run follow on it, one after the other
    since: float = 0.0  # when it first asked; a program that is started again keeps its place. 0: now
    rows: int = 0  # that it makes; 0: not known
    kind: str = ""  # programs of one kind take equally long for a row
    progress: str = ""  # the file in which it says how far it is


@dataclass(frozen=True)
class Grant:
    """GPUs that are taken, and the locks that a program on them inherits."""

    gpus: tuple[Gpu, ...] = ()
    locks: tuple[int, ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """The program sees these GPUs alone, numbered as the driver does."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(gpu.name for gpu in self.gpus), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


class Ledger:
    """This process's view of it: the GPUs that it may use."""

    def __init__(self, gpus: list[Gpu], place: Path):
        self.gpus, self.folder = {gpu.uuid: gpu for gpu in gpus}, LedgerFolder(place)
        if gpus:
            self.folder.make()

    @contextmanager
    def taken(
        self, request: Request, pause: Callable[[float], None] = time.sleep, on_wait: Callable[[str], None] = print
    ) -> Iterator[Grant]:
        """GPUs for a program, in its turn; what `pause` raises ends the waiting."""
        if request.gpus > len(self.gpus):
            raise BadInput(f"how: {request.what} asks for {request.gpus} GPUs, this machine has {len(self.gpus)}")
        granted = self._wait(request, pause, on_wait) if request.gpus else Grant()
        try:
            yield granted
        finally:
            for lock in granted.locks:
                os.close(lock)  # without unlocking: what the program left behind may still hold the GPU

    def learn(self, request: Request, seconds: float) -> None:
        """What a program of this kind has taken."""
        if self.gpus and request.gpus and request.rows:
            with self.folder.gate():
                self.folder.learn(request.kind, request.rows, seconds)

    def _wait(self, request: Request, pause: Callable[[float], None], on_wait: Callable[[str], None]) -> Grant:
        waiting = Waiting(request.gpus, tuple(self.gpus), *self.folder.expected(request.kind, request.rows))
        with self.folder.gate(pause):
            ticket = self.folder.draw(waiting, request.since or time.time(), request.urgency)
        told, when = "", -TELL_AGAIN
        try:
            while True:
                with self.folder.gate(pause):
                    if granted := self._try(request, waiting, ticket):
                        return granted
                    before = len(self.folder.before(ticket))
                    text = told if time.monotonic() - when < TELL_AGAIN else self._waits_for(waiting, before)
                if text != told:
                    told, when = text, time.monotonic()
                    on_wait(text)
                pause(min(LOOK_AGAIN[0] * (1 + before), LOOK_AGAIN[1]))
        finally:
            ticket.drop()

    def _try(self, request: Request, waiting: Waiting, ticket: Ticket) -> Grant | None:
        """All that it needs or nothing. What is free is locked until we have chosen."""
        locks = self._free(waiting.usable)
        try:
            if len(locks) < waiting.gpus:
                return None
            ahead = self.folder.ahead(ticket)
            theirs = {uuid for one in ahead for uuid in one.usable} - self.gpus.keys()
            locks |= self._free(theirs)
            taken = ({*waiting.usable} | theirs) - locks.keys()
            ends = {uuid: self.folder.seconds_left(uuid) if ahead else None for uuid in taken}
            chosen = choose(waiting, ahead, ends)
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

    def _waits_for(self, waiting: Waiting, before: int) -> str:
        """What a person is told who waits."""
        holders: Counter[str] = Counter()
        for uuid in waiting.usable:
            if (lock := self.folder.lock(uuid)) is None:
                note = self.folder.holder(uuid)
                holders[f"{note['what']} (process {note['pid']})"] += 1
            else:
                os.close(lock)
        free, number = len(waiting.usable) - holders.total(), waiting.gpus
        asked = f"{number} GPUs" if number > 1 else "1 GPU"
        said = [f"{who} has {taken}" for who, taken in holders.items()] + ([f"{before} before it"] if before else [])
        return f"waits for {asked}, {free} of {len(waiting.usable)} free: {', '.join(said)}"
