"""Runs the cheap chain, kills it again and again until it is done, and holds every promise against what is left."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from infra.checkpoints import StoredCheckpoints
from infra.errors import LeaseLost, StoreUnreachable
from infra.manifest import Manifest
from infra.settings import settings
from infra.store import Store
from tasks import execution
from tasks.stage import lineage
from tests.chaos.chain import Diary, chain, run_chain
from tests.chaos.fatal import Points, arm
from tests.patience import STILL

fork = multiprocessing.get_context("fork")  # everything is imported once; a fresh interpreter costs a second of CPU
BROKEN, UNREACHABLE, LOST = 1, 3, 4
TALLY = Counter()  # kills of this session, by what was killed
STEPS = lineage(chain())
LENGTH = float(os.environ.get("CHAOS_LENGTH", 1))  # share of the kills of `make chaos`, for a shorter form


@dataclass
class Attack:
    """One store, one diary, and a run that is begun again after each kill."""

    url: str
    folder: Path
    options: dict = field(default_factory=dict)

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.diary = Diary(self.folder / "diary")
        self.kills = 0

    def start(self, dies_at: int = 0):
        child = fork.Process(target=self._run, args=(dies_at,))
        child.start()
        return child

    def run(self) -> None:
        run_chain(self.url, self.folder, self.diary, self.options)

    def _run(self, dies_at: int) -> None:
        """Ends at once: what other tests' libraries left for a process's end is not the child's to do, and fails in it."""
        code = BROKEN
        try:
            code = self._code(dies_at)
        except BaseException as error:
            self.diary.note("broke", repr(error))
        finally:
            os._exit(code)

    def _code(self, dies_at: int) -> int:
        settings.cache_clear()
        points = Points(dies_at, self.diary.note)
        arm(points)
        note_beginnings(self.diary)
        try:
            self.run()
        except StoreUnreachable:
            return UNREACHABLE
        except LeaseLost:
            return LOST
        self.diary.note("passed", points.passed)
        return 0

    def at_point(self, number: int) -> bool:
        """True: the run was killed at its point of this number. False: it has fewer, and is done."""
        child = self.start(number)
        child.join(STILL)
        self.sound(child)
        return self.killed(child)

    def after(self, seconds: float) -> bool:
        """The same after some time."""
        child = self.start()
        child.join(seconds)
        child.kill()
        child.join()
        self.diary.note("stopped")
        self.sound(child)
        return self.killed(child)

    def pause(self, seconds: float, silence: float) -> None:
        """Stops a run after some time, lets another one go on, and wakes the first one after `silence` seconds: it may find
        what the other has made, or learn that it has lost its lease."""
        child = self.start()
        child.join(seconds)
        if child.exitcode is None:
            os.kill(child.pid, signal.SIGSTOP)
            self.diary.note("stopped")
            other = self.start()
            time.sleep(silence)
            os.kill(child.pid, signal.SIGCONT)
            TALLY[f"pauses on {self.kind}"] += 1
            self.kills += 1
            other.join(STILL)
            self.sound(other)
        child.join(STILL)
        assert child.exitcode in (0, LOST), f"the run ended with {child.exitcode}: {self.diary.lines()[-1:]}"
        TALLY["leases lost"] += child.exitcode == LOST

    @property
    def kind(self) -> str:
        return "s3" if "://" in self.url else "file"

    def killed(self, child) -> bool:
        found = child.exitcode == -9
        self.kills += found
        TALLY[f"runs on {self.kind}"] += found
        return found

    def sound(self, child) -> None:
        assert child.exitcode in (0, -9), f"the run ended with {child.exitcode}: {self.diary.lines()[-1:]}"

    def finish(self) -> None:
        assert not self.at_point(0)

    def store(self, name: str = "reader") -> Store:
        return Store(self.url, self.folder / name, self.options)

    def visible(self) -> dict[str, Manifest]:
        """Every artifact that can be seen, each of its bytes and each row in a pool read and found whole; and noted, since
        from now on nobody may make it again."""
        store, found = self.store(), {}
        for step in STEPS:
            if manifest := store.manifest(step.stage.name, step.fingerprint):
                assert store.verify(manifest) == []
                found[step.address] = manifest
                self.diary.note("stands", step.address)
            for part in store.parts(step.pool) if step.pool else ():
                rows = pq.read_table(store.fetch_part(part))["number"].to_pylist()
                self.diary.note("holds", step.what.exponent, *rows)
            for name in StoredCheckpoints(store.blobs, step.address).names():
                StoredCheckpoints(store.blobs, step.address).fetch(name, self.folder / "checkpoint")
                self.diary.note("holds", "step", int(name) - 1)
        return found

    def contents(self) -> dict[str, str]:
        return {address: manifest.content for address, manifest in self.visible().items()}


def note_beginnings(diary: Diary) -> None:
    """Notes under which number of its lease a step is begun: with that lease in hand, no manifest of it was found."""
    make = execution.make_artifact

    def begin(step, held, *more):
        diary.note("begun", step.address, held.epoch)
        return make(step, held, *more)

    execution.make_artifact = begin


def unfenced(diary: Diary, found: dict[str, Manifest]) -> list[str]:
    """Artifacts that were published by an earlier holder of the lease, although a later one had begun the step."""
    lines = [line.split() for line in diary.lines() if line.startswith("begun")]
    last = {address: max(int(epoch) for _, each, epoch in lines if each == address) for _, address, _ in lines}
    return [address for address, made in found.items() if int(made.attempt.partition("-")[0]) < last[address]]


def unbroken(attack: Attack) -> tuple[dict[str, str], int]:
    """What a run leaves that nobody disturbs, and how many points it passes."""
    attack.finish()
    (passed,) = [int(line.split()[1]) for line in attack.diary.lines() if line.startswith("passed")]
    return attack.contents(), passed


def redone(diary: Diary) -> list[str]:
    """What was made again although it had been seen finished, or although no kill came between."""
    finished, made, wrong = set(), set(), []
    for line in diary.lines():
        match line.split():
            case ["killed" | "stopped", *_]:
                made.clear()
            case ["stands", address]:
                finished.add(address)
            case ["holds", kind, *items]:
                finished |= {(kind, item) for item in items}
            case ["running", address]:
                wrong += [line] * (address in finished)
            case ["make" | "step" as kind, *items]:
                named = {(items[0], item) for item in items[1:]} if kind == "make" else {("step", items[0])}
                wrong += [line] * bool(named & (finished | made))
                made |= named
    return wrong
