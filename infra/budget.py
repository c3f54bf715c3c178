"""Counts what the programs of this process cost, and ends their work when a budget is spent.

A program that makes rows stops at the end of its next part, a training after its next checkpoint; other running programs end by
themselves, and no further program starts. So nothing is lost, and a run with a higher budget continues.
"""

import json
import os
import threading
import time
from pathlib import Path

from infra.errors import BudgetReached


class Budget:
    """The limit and the spending, in dollars. Many threads call it. Without a limit it only counts."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.limit: float | None = None
        self.gpu_hour = self.cpu_hour = self.spent = 0.0
        self.file: Path | None = None
        self.saved = 0.0

    def begin(self, limit: float, gpu_hour: float, cpu_hour: float, file: Path) -> None:
        """Sets limit and rates. `file` has what earlier runs with a budget spent."""
        self.limit, self.gpu_hour, self.cpu_hour, self.file = limit, gpu_hour, cpu_hour, file
        self.spent = read_spent(file)

    def rate(self, gpus: int) -> float:
        """Dollars per second of a program with so many GPUs."""
        return (gpus * self.gpu_hour if gpus else self.cpu_hour) / 3600

    def spend(self, dollars: float) -> None:
        with self.lock:
            self.spent += dollars
            if self.file and time.monotonic() - self.saved > 1.0:
                self.save()

    def save(self) -> None:
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            draft = self.file.with_name(f"{self.file.name}.{os.getpid()}.draft")
            draft.write_text(json.dumps({"dollars": self.spent}))
            os.replace(draft, self.file)
            self.saved = time.monotonic()

    @property
    def reached(self) -> bool:
        return self.limit is not None and self.spent >= self.limit

    def check(self) -> None:
        """Raises BudgetReached if the budget is spent."""
        if self.reached:
            raise BudgetReached(
                f"--budget {self.limit:g}: {self.spent:.2f} dollars are spent; finished steps, rows and checkpoints are kept: "
                "run again with a higher budget to continue"
            )


def read_spent(file: Path) -> float:
    return float(json.loads(file.read_text())["dollars"]) if file.exists() else 0.0


BUDGET = Budget()
