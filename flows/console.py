"""What a run shows on a terminal: a live line per running step (rows, rate, time left), and a line for each that ended."""

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

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
from rich.table import Table

from flows.pieces import Piece
from flows.plan import Planned
from infra.visible import visible
from tasks.models.findings import Finding
from tasks.stage import Step

STATES = {
    "found": "[green]found[/]",
    "to do": "[yellow]to do[/]",
    "extends": "[yellow]extends[/]",
    "not needed": "[dim]not needed[/]",
}
PLAIN_EVERY = 10.0  # seconds between two lines of one step where there is no terminal


class Watcher:
    """Observes the steps of a run; calls come from many threads."""

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

    def __enter__(self) -> "Watcher":
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
    """Colours and live lines are ours; whatever a text holds that a terminal would obey is shown instead."""

    def render(self, *arguments, **keywords) -> Iterator[Segment]:
        for segment in super().render(*arguments, **keywords):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def make_console() -> Console:
    console = Terminal(highlight=False)
    return console if console.is_terminal else Terminal(highlight=False, width=140, file=sys.stdout)


def show_plan(console: Console, planned: Sequence[Planned]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in ("state", "step", "address"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for one in planned:
        table.add_row(
            STATES[one.state],
            escape(one.step.label),
            f"[dim]{one.step.stage.name}/{one.step.fingerprint[:12]}[/]",
            escape("; ".join(one.reasons)),
        )
    console.print(table)
    runs = sum(one.runs for one in planned)
    console.print(
        f"\n{runs} of {len(planned)} steps to do" if runs else f"\nnothing to do: all {len(planned)} steps are in place"
    )


def show_remarks(console: Console, remarks: Sequence[str]) -> None:
    for one in remarks:
        console.print(f"note: {one}", markup=False, soft_wrap=True)


def show_findings(console: Console, findings: Sequence[Finding], accepted: Mapping[str, str]) -> None:
    """Everything the doctor said, red first within each model; a model's first rendered prompt at its end."""
    if not findings:
        console.print(
            "nothing to look at: every model is made here, or stands behind an endpoint with its own template"
        )
    for model in dict.fromkeys(one.model for one in findings):
        console.print(f"[bold]{escape(model)}[/]")
        for one in sorted((one for one in findings if one.model == model), key=lambda one: not one.red):
            reason = accepted.get(f"{model}.{one.check}") or accepted.get(one.check)
            state = "[green]ok[/] " if not one.red else "[red]red[/]" if not reason else "[yellow]red[/]"
            more = f"accepted: {reason}" if one.red and reason else one.hint
            shown = f"{one.text}; {more}" if more else one.text
            console.print(f"  {state} {one.check}: {escape(shown)}", soft_wrap=True)


def show_results(console: Console, numbers: dict) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model")
    for name in ("accuracy", "win rate", "tokens"):
        table.add_column(name, justify="right")
    for row in numbers["results"]:
        style = "bold" if row["role"] == "wrpo" else "dim" if row["role"] == "source" else ""
        table.add_row(
            escape(row["model"]) + (" (source)" if row["role"] == "source" else ""),
            percent(row["accuracy"]),
            percent(row["win_rate"]),
            "–" if row["tokens"] is None else f"{row['tokens']:.1f}",
            style=style,
        )
    console.print(table)
    console.print(
        f"\n{numbers['held_out']} held-out prompts; {numbers['confidence']:.0%} intervals by bootstrap over prompts; "
        "win rate against the sources, as the judge scores"
    )
    if numbers["no_accuracy"]:
        console.print(f"accuracy –: {numbers['no_accuracy']}", markup=False)
    if unchecked := [f"{row['model']} {row['unchecked']}" for row in numbers["results"] if row["unchecked"]]:
        console.print(f"answers that could not be checked count as not correct: {', '.join(unchecked)}", markup=False)
    for change in numbers["differences"]:
        verdict = " (within noise)" if change["low"] <= 0 <= change["high"] else ""
        console.print(
            f"  {change['from']} → {change['to']}: {change['metric'].replace('_', ' ')} {100 * change['value']:+.1f} points "
            f"[{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]{verdict}",
            markup=False,
        )


def show_damage(console: Console, pieces: Sequence[Piece], broken: Sequence[Piece], sample: int | None) -> None:
    if not pieces:
        console.print("nothing of it is in the store yet")
        return
    entries = [piece.entry for piece in pieces if piece.entry]
    owners = len({piece.owner for piece in pieces})
    looked = f"{sample} of {len(entries)}" if sample is not None and sample < len(entries) else f"all {len(entries)}"
    size = sum(entry.size for entry in entries) / 1e6
    for piece in broken:
        console.print(f"[red]damaged[/]  {escape(piece.label)}: {escape(piece.problem)}", soft_wrap=True)
    verdict = f"[red]{len(broken)} damaged[/]" if broken else "[green]whole[/]"
    console.print(f"{looked} files ({size:,.1f} MB) of {owners} artifacts and pools read again: {verdict}")


def percent(rate: dict | None) -> str:
    return "–" if rate is None else f"{rate['value']:6.1%}  \\[{rate['low']:.1%}, {rate['high']:.1%}]"
