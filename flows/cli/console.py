"""A run's output on a terminal: a live line per running step (rows, rate, time left), and a line per finished step."""

import sys
import threading
import time
from collections.abc import Iterator
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment

from infra.visible import escape_control
from tasks.stage import Step

PLAIN_EVERY = 10.0  # seconds between two lines of one step if the output is not a terminal


class Watcher:
    """Shows the progress of a run's steps; many threads call it."""

    def __init__(self, console: Console):
        self.console, self.lock = console, threading.Lock()
        self.live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.started: dict[str, float] = {}
        self.first: dict[tuple[str, str], tuple[float, int]] = {}
        self.printed: dict[str, float] = {}
        self.lines: dict = {}

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *problem) -> None:
        self.live.stop()

    def __call__(self, step: Step, doing: str, done: int, total: int, unit: str) -> None:
        with self.lock:
            match doing:
                case "found":
                    return
                case "queued":
                    self.started.pop(step.address, None)
                case "done":
                    seconds = time.monotonic() - self.started[step.address]
                    self.console.print(f"  [green]✓[/] {escape(step.label)} [dim]{seconds:.1f} s[/]", highlight=False)
                    if step.address in self.lines:
                        self.live.remove_task(self.lines.pop(step.address))
                case "running":
                    self.running(step, done, total, unit)
                case _:
                    self.console.print(f"  … {escape(step.label)}: {escape(doing)}", highlight=False)

    def running(self, step: Step, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        self.started.setdefault(step.address, now)
        if step.address not in self.lines:
            self.lines[step.address] = self.live.add_task(escape(step.label), total=None, rate="")
        if not total:
            return
        since, before = self.first.setdefault((step.address, unit), (now, done))
        rate = (done - before) / (now - since) if now - since > 0.5 else 0.0
        text = f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s" if rate else ""
        self.live.update(self.lines[step.address], completed=done, total=total, rate=text)
        if (
            rate
            and not self.console.is_terminal
            and now - self.printed.get(step.address, self.started[step.address]) > PLAIN_EVERY
        ):
            self.printed[step.address] = now
            left = f"{(total - done) / rate:,.0f} s left"
            self.console.print(
                f"    {escape(step.label)}: {done:,} of {total:,} {unit}, {text}, {left}", highlight=False
            )


class Terminal(Console):
    """A console that shows control characters of printed texts instead of sending them to the terminal."""

    def render(self, *arguments, **keywords) -> Iterator[Segment]:
        for segment in super().render(*arguments, **keywords):
            yield segment if segment.control else segment._replace(text=escape_control(segment.text))


def make_console() -> Console:
    console = Terminal(highlight=False)
    return console if console.is_terminal else Terminal(highlight=False, width=140, file=sys.stdout)
