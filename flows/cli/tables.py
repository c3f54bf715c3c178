"""Tables on the terminal: a plan, the doctor's findings, results, damage in the store."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.plan import Planned
from flows.preflight import Need
from flows.upkeep.resample import Resampled
from flows.upkeep.stored_pieces import Piece
from infra.machine import GB, Machine
from tasks.doctor.findings import Finding

STATES = {
    "found": "[green]found[/]",
    "to do": "[yellow]to do[/]",
    "extends": "[yellow]extends[/]",
    "not needed": "[dim]not needed[/]",
}


def show_plan(console: Console, planned: Sequence[Planned]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in ("state", "step", "address"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for entry in planned:
        table.add_row(
            STATES[entry.state],
            escape(entry.step.label),
            f"[dim]{entry.step.stage.name}/{entry.step.fingerprint[:12]}[/]",
            escape("; ".join(entry.reasons)),
        )
    console.print(table)
    runs = sum(entry.runs for entry in planned)
    console.print(
        f"\n{runs} of {len(planned)} steps to do" if runs else f"\nnothing to do: all {len(planned)} steps are done"
    )


COLOURS = {"green": "[green]green[/]", "red": "[red]red[/]", "unknown": "[yellow]unknown[/]", "": ""}


def show_needs(console: Console, needs: Sequence[Need], machine: Machine) -> None:
    """Prints what each stage needs, and whether the machine has it."""
    size = lambda bytes_: "" if bytes_ is None else f"{bytes_ / GB:,.0f}" if bytes_ >= GB else f"{bytes_ / GB:.1f}"
    there = lambda bytes_: f"{size(bytes_)} GB" if bytes_ is not None else "not known"
    gpus = (
        "GPUs not known"
        if machine.gpus is None
        else f"{machine.gpus} GPU{'s' * (machine.gpus > 1)} of {there(machine.gpu_memory)}"
    )
    console.print(
        f"the machine: {gpus if machine.gpus != 0 else 'no GPU'}, host memory {there(machine.memory)}, "
        f"disk {there(machine.disk)}; needs in GB, estimated",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    table.add_column("state")
    table.add_column("stage", no_wrap=True)
    for name in ("GPUs", "each", "host", "disk"):
        table.add_column(name, justify="right")
    table.add_column("note", overflow="fold")
    for need in needs:
        asked = "" if not need.gpus else f"{need.gpus}" if need.programs == 1 else f"{need.programs} × {need.gpus}"
        sizes = (size(need.gpu), size(need.host), size(need.disk))
        table.add_row(COLOURS[need.state], escape(need.stage), asked, *sizes, escape(need.note))
    console.print(table)


def show_remarks(console: Console, remarks: Sequence[str]) -> None:
    for remark in remarks:
        console.print(f"note: {remark}", markup=False, soft_wrap=True)


def show_findings(console: Console, findings: Sequence[Finding], accepted: Mapping[str, str]) -> None:
    """Prints all findings of the doctor, model by model, red ones first."""
    if not findings:
        console.print("no model to check: every model is made here, or is behind an endpoint with its own template")
    for model in dict.fromkeys(finding.model for finding in findings):
        console.print(f"[bold]{escape(model)}[/]")
        about_model = [finding for finding in findings if finding.model == model]
        for finding in sorted(about_model, key=lambda finding: not finding.red):
            reason = accepted.get(f"{model}.{finding.check}") or accepted.get(finding.check)
            state = "[green]ok[/] " if not finding.red else "[red]red[/]" if not reason else "[yellow]red[/]"
            more = f"accepted: {reason}" if finding.red and reason else finding.hint
            shown = f"{finding.text}; {more}" if more else finding.text
            console.print(f"  {state} {finding.check}: {escape(shown)}", soft_wrap=True)


def show_results(console: Console, numbers: dict) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model")
    for name in ("accuracy", "win rate", "tokens"):
        table.add_column(name, justify="right")
    for row in numbers["results"]:
        style = "bold" if row["role"] == "wrpo" else "dim" if row["role"] == "source" else ""
        table.add_row(
            escape(row["model"]) + (" (source)" if row["role"] == "source" else ""),
            format_rate(row["accuracy"]),
            format_rate(row["win_rate"]),
            "–" if row["tokens"] is None else f"{row['tokens']:.1f}",
            style=style,
        )
    console.print(table)
    console.print(
        f"\n{numbers['held_out']} held-out prompts; {numbers['confidence']:.0%} intervals by bootstrap over prompts; "
        "win rate against the sources, by the judge's scores"
    )
    if numbers["no_accuracy"]:
        console.print(f"no accuracy, because {numbers['no_accuracy']}", markup=False)
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
        console.print("the store has no files of it yet")
        return
    entries = [piece.entry for piece in pieces if piece.entry]
    owners = len({piece.owner for piece in pieces})
    checked = f"{sample} of {len(entries)}" if sample is not None and sample < len(entries) else f"all {len(entries)}"
    size = sum(entry.size for entry in entries) / 1e6
    for piece in broken:
        console.print(f"[red]damaged[/]  {escape(piece.label)}: {escape(piece.problem)}", soft_wrap=True)
    verdict = f"[red]{len(broken)} damaged[/]" if broken else "[green]undamaged[/]"
    console.print(f"{checked} files ({size:,.1f} MB) of {owners} artifacts and pools checked: {verdict}")


def show_resampled(console: Console, results: Sequence[Resampled]) -> None:
    if not results:
        console.print("the store has no rows of it yet")
    for result in results:
        if result.skipped:
            console.print(f"[dim]not made again[/]  {escape(result.label)}: {escape(result.skipped)}", soft_wrap=True)
            continue
        state = "[green]equal[/]" if result.equal == result.rows else "[red]different[/]"
        within = f", within {result.tolerance:g}" if result.tolerance else ""
        drift = f"; changed since: {', '.join(result.drift)}" if result.drift else ""
        counts = f"{result.equal:,} of {result.rows:,} rows equal{within}, {result.stored:,} stored{drift}"
        console.print(f"{state}  {escape(result.label)}: {escape(counts)}", soft_wrap=True)
        for row in result.different:
            console.print(f"    differs: {row}", markup=False, soft_wrap=True)


def format_rate(rate: dict | None) -> str:
    return "–" if rate is None else f"{rate['value']:6.1%}  \\[{rate['low']:.1%}, {rate['high']:.1%}]"
