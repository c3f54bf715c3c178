"""Runs several programs at once that make a pool's missing rows, one share each; restarts those that die.

Rows with the same first key column (the samples of a prompt) go to the same share. Prompts are dealt out in turn, so that
the shares are similar. No row is in two shares.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from infra.errors import OutOfMemory, ProgramFailed
from infra.launch import HERE, Environment
from tasks.execution import Run
from tasks.rows.filling import Filling


@dataclass(frozen=True)
class Workers:
    """The program, the number of workers, their environment, and the restarts that each worker may have."""

    module: str
    workers: int = 1
    restarts: int = 0
    group: int = 0  # number of torchrun processes per worker; 0: a single process
    environment: Environment = HERE
    extra_job: Callable[[int], Mapping] = lambda worker: {}  # extra job fields of one worker, counted from 0


class WorkerGroup:
    """Runs worker programs over the missing rows and restarts those that die, except for lack of memory."""

    def __init__(self, run: Run, settings: Workers, job: dict, before: int, filling: Filling):
        self.run, self.settings, self.job, self.before, self.filling = run, settings, job, before, filling
        self.ended = threading.Event()
        self.total, self.started = 0, False
        self.done: dict[int, int] = {}  # per worker: rows that were made before its last restart
        self.counts: Counter[str] = Counter()

    def work(self, missing: pd.DataFrame) -> None:
        """Runs all workers until each has finished or used up its restarts; then raises the first failure."""
        self.total = self.before + len(missing)
        shares = deal_rows(missing, self.settings.workers)
        self.run.observe(self.run.step, "queued", 0, 0, "")
        with ThreadPoolExecutor(len(shares)) as threads:
            try:
                # each thread runs in a copy of our context, since observers read the current run from it
                futures = [threads.submit(copy_context().run, self.share, *each) for each in enumerate(shares)]
                failed = [problem for future in futures if (problem := future.exception())]
            except BaseException:
                self.ended.set()  # an interruption: ends the programs, otherwise the pool would wait for its threads
                raise
        self.run.count(**self.counts)
        if failed:
            raise failed[0]

    def share(self, number: int, rows: pd.DataFrame) -> None:
        everything = len(rows)
        for death in range(self.settings.restarts + 1):
            rows = self.filling.left(rows) if death else rows
            self.done[number] = everything - len(rows)
            try:
                return self.once(number, rows) if len(rows) else None
            except OutOfMemory:  # the program already tried one row at a time, so a restart would fail at the same row
                raise
            except ProgramFailed:
                if death == self.settings.restarts or self.run.launcher.stopped.is_set() or self.ended.is_set():
                    raise
                self.counts["restarts"] += 1

    def once(self, number: int, rows: pd.DataFrame) -> None:
        out = self.out(number)
        out.mkdir(parents=True, exist_ok=True)
        (out / "progress.json").unlink(missing_ok=True)
        job = {**self.job, **self.settings.extra_job(number), **self.filling.ask(rows, out)}
        job["threads"] = max(1, self.run.launcher.threads // max(self.settings.group, 1))
        look = lambda: self.look(out)
        request, settings = self.run.request(len(rows)), self.settings
        summary = self.run.launcher.run(
            settings.module,
            job,
            out,
            look,
            settings.group,
            settings.environment,
            request=request,
            on_wait=self.run.report_wait,
        )
        self.counts.update({name: value for name, value in summary.items() if not isinstance(value, str)})

    def look(self, out: Path) -> None:
        if self.ended.is_set():
            raise ProgramFailed(f"{self.settings.module} was stopped, because the run was interrupted")
        if not self.started:
            self.started = True
            self.run.observe(self.run.step, "running", 0, 0, "")
        self.filling.commit(out)
        self.run.progress(self.before + sum(self.progress_of(number) for number in list(self.done)), self.total)

    def out(self, number: int) -> Path:
        return self.run.scratch / f"program-{number}"

    def progress_of(self, number: int) -> int:
        file = self.out(number) / "progress.json"
        return self.done[number] + (json.loads(file.read_text())["done"] if file.exists() else 0)


def deal_rows(rows: pd.DataFrame, workers: int) -> list[pd.DataFrame]:
    prompt_number = pd.factorize(rows.iloc[:, 0])[0]
    shares = [rows[prompt_number % workers == number] for number in range(workers)]
    return [share for share in shares if len(share)]
