"""Leases on pieces of work. Two processes may work at once (a machine may sleep), but only the last holder writes.

A holder writes through `Blobs.fenced`, which checks the lease in the store before each write. In a folder this is exact.
A bucket may still accept one write that was under way, so exclusive values are written with `Blobs.create`.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from pydantic import BaseModel, Field, ValidationError

from infra.blobs import Blobs
from infra.errors import BadInput, CorruptArtifact, LeaseLost
from infra.processes import boot_identity, process_start


def now() -> float:
    """Seconds on a monotonic clock that also advances while a process is stopped or a laptop sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Holder(BaseModel, frozen=True):
    owner: str
    host: str
    boot: str  # boot of the host and process namespace: a process id is valid only inside them
    pid: int
    started: str
    expires: float  # 0: released. Other values only inform people, since the clocks of two hosts may differ
    ttl: float = Field(default=90, gt=0, le=86_400)  # seconds after the last renewal, by the store's clock
    epoch: int

    def ended(self) -> bool:
        """True if its process ran on this host and has ended."""
        here = self.boot != "" and (self.host, self.boot) == (socket.gethostname(), boot_identity())
        return here and process_start(self.pid) != self.started

    def bytes(self) -> bytes:
        return self.model_dump_json().encode()


class Lease:
    def __init__(self, blobs: Blobs, path: str, holder: Holder, ttl: float, taken: float):
        self._blobs, self._path, self._owner, self._ttl = blobs, path, holder.owner, ttl
        self.epoch = holder.epoch  # increases with each holder
        self.lapses = 0  # how often it was renewed after it had expired, since no other process had taken it
        self._renewing = threading.Lock()
        self._until = taken + ttl
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease {path}", daemon=True)

    def held(self) -> bool:
        """False once another holder was seen, or once no renewal has succeeded for `ttl`."""
        return not self._ended.is_set() and now() < self._until

    def check(self) -> None:
        """Raises LeaseLost if another process holds the lease. Renews an expired lease that no other process took."""
        if self.held():
            self.confirm()
        elif self._ended.is_set() or not self._extend():
            raise self._lost()

    def confirm(self) -> None:
        try:
            stored = _parse(self._blobs, self._path, self._blobs.read(self._path))
        except FileNotFoundError:
            raise self._lost() from None
        if stored.owner != self._owner:
            raise self._lost()

    def _lost(self) -> LeaseLost:
        return LeaseLost(
            f"{self._blobs.url}/{self._path}: this process did not renew its lease in time, and another process has it now"
        )

    def keep(self) -> None:
        self._thread.start()

    def release(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self._expire(0.0)  # not deleted: a delete could remove the next holder's lease
        except (OSError, BadInput):
            return  # the lease expires later anyway, and this error must not hide the work's result or error

    def _renew(self) -> None:
        while not self._ended.wait(self._ttl / 3):
            try:
                if not self._extend():
                    self._ended.set()
                    return
            except OSError:
                continue  # the next attempt may succeed; `held` checks the deadline
            except BadInput:
                self._ended.set()  # the store refuses us; the next write reports the reason
                return

    def _extend(self) -> bool:
        with self._renewing:  # two renewals at once would each mistake the other for another holder
            began = now()
            extended = self._expire(time.time() + self._ttl)
            self.lapses += extended and began >= self._until
            self._until = began + self._ttl if extended else self._until
            return extended

    def _expire(self, when: float) -> bool:
        """Sets the end of the lease; False if another process holds it. Reads it first: an earlier answer may be lost."""
        try:
            stored = self._blobs.read(self._path)
        except FileNotFoundError:
            return False
        holder = _parse(self._blobs, self._path, stored)
        new = holder.model_copy(update={"expires": when}).bytes()
        return holder.owner == self._owner and self._blobs.compare_and_swap(self._path, stored, new)


@contextmanager
def hold_lease(
    blobs: Blobs,
    name: str,
    ttl: float = 90.0,
    poll: float = 0.5,
    on_wait: Callable[[str], object] | None = None,
    done: Callable[[], bool] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Lease | None]:
    """Waits for the live holder to finish, then holds `name` during the block. Yields None if `done()` became true during
    the wait. An exception from `pause` ends the wait."""
    taken = _wait(blobs, name, ttl, poll, on_wait, done, pause)
    if taken is None:
        yield None
        return
    taken.keep()
    try:
        yield taken
    finally:
        taken.release()


def is_live(blobs: Blobs, name: str) -> bool:
    """True if a process holds `name` now."""
    path = f"_leases/{name}.json"
    try:
        return not _is_free(blobs, path, _parse(blobs, path, blobs.read(path)))
    except FileNotFoundError:
        return False


def _is_free(blobs: Blobs, path: str, holder: Holder) -> bool:
    """True if the lease is released or expired, or if its process ran on this host and has ended."""
    return holder.expires == 0 or holder.ended() or blobs.age(path) > holder.ttl


def has_ended(blobs: Blobs, name: str) -> bool:
    """True if the process that holds `name` ran on this host and has ended."""
    path = f"_leases/{name}.json"
    try:
        return _parse(blobs, path, blobs.read(path)).ended()
    except FileNotFoundError:
        return False


def epoch_of(blobs: Blobs, name: str) -> int:
    """How many holders `name` has had; 0 if it had none."""
    path = f"_leases/{name}.json"
    try:
        return _parse(blobs, path, blobs.read(path)).epoch
    except FileNotFoundError:
        return 0


def leases_below(blobs: Blobs, name: str) -> list[str]:
    """The names of all leases below `name`, held or not."""
    return [path.removeprefix("_leases/").removesuffix(".json") for path in blobs.list(f"_leases/{name}")]


def drop_lease(blobs: Blobs, name: str) -> None:
    """Deletes the lease on `name`; its holder notices at its next check."""
    blobs.delete(f"_leases/{name}.json")


def _wait(
    blobs: Blobs,
    name: str,
    ttl: float,
    poll: float,
    on_wait: Callable[[str], object] | None,
    done: Callable[[], bool] | None,
    pause: Callable[[float], None],
) -> Lease | None:
    path, announced = f"_leases/{name}.json", None
    while True:
        taken, holder = _take(blobs, path, ttl)
        if announced and done and done():
            if taken:
                taken.release()
            return None
        if taken:
            return taken
        if holder and holder.owner != announced:
            announced = holder.owner
            if on_wait:
                on_wait(f"waiting: process {holder.pid} on {holder.host} is already making this artifact")
            continue  # asks `done` now instead of after a pause
        pause(poll)


def _take(blobs: Blobs, path: str, ttl: float) -> tuple[Lease | None, Holder | None]:
    """One attempt: returns (lease, None), (None, holder), or (None, None) if another process was faster just now."""
    try:
        raw = blobs.read(path)
        before = _parse(blobs, path, raw)
        if not _is_free(blobs, path, before):
            return None, before
    except FileNotFoundError:
        raw, before = None, None
    began = now()
    holder = Holder(
        owner=uuid4().hex,
        host=socket.gethostname(),
        boot=boot_identity(),
        pid=os.getpid(),
        started=process_start(os.getpid()) or "",
        expires=time.time() + ttl,
        ttl=ttl,
        epoch=before.epoch + 1 if before else 1,
    )
    got = blobs.create(path, holder.bytes()) if raw is None else blobs.compare_and_swap(path, raw, holder.bytes())
    return (Lease(blobs, path, holder, ttl, began) if got else None), None


def _parse(blobs: Blobs, path: str, raw: bytes) -> Holder:
    try:
        return Holder.model_validate_json(raw)
    except ValidationError as error:
        raise CorruptArtifact(f"{blobs.url}/{path}: not a valid lease; delete this file if no run is active") from error
