"""Worker processes of a test that are killed at random moments, with the programs that they had started, and replaced."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.node.node import Node
from tests.patience import Patience

ROOT = Path(__file__).parents[2]


class Workers:
    def __init__(self, node: Node, commands: Sequence[Sequence[str]], seed: int):
        self.node, self.environment, self.chance = node, node.make(), random.Random(seed)
        self.running = {tuple(words): self.start(words) for words in commands}
        self.killed_programs = self.killed_workers = 0

    def start(self, words: Sequence[str]) -> subprocess.Popen:
        with (self.node.folder / f"{'-'.join(words[1:])}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, ended: Callable[[], bool], programs: int, workers: int, every: float) -> float:
        """Until it has ended; so many programs and workers are killed on the way. Returns the seconds it took."""
        began, last, kills = time.time(), time.time(), [True] * programs + [False] * workers
        self.chance.shuffle(kills)
        patience = Patience(lambda: len(self.node.records()))
        try:
            while not ended():
                patience.check()
                self.revive()
                if kills and time.time() - last > every and (self.kill_program if kills[-1] else self.kill_worker)():
                    kills.pop()
                    last = time.time()
                time.sleep(0.1)
            return time.time() - began
        finally:
            for process in self.running.values():
                process.kill()
                process.wait()

    def revive(self) -> None:
        for words, process in self.running.items():
            if process.poll() == -signal.SIGKILL:
                self.running[words] = self.start(words)
            assert process.poll() in (None, 0, -signal.SIGKILL), f"{words} ended with {process.returncode}"

    def kill_program(self) -> bool:
        alive = [one for one in self.node.records() if time.time() - one["end"] < 0.5]
        if not alive:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(alive)["pid"], signal.SIGKILL)
            self.killed_programs += 1
        return True

    def kill_worker(self) -> bool:
        alive = [process for process in self.running.values() if process.poll() is None]
        if not alive:
            return False
        self.chance.choice(alive).kill()
        self.killed_workers += 1
        return True
