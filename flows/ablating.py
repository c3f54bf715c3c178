"""`fuse ablate`: runs what a matrix lacks, then says what its variants changed, on the terminal and as a page."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.ablation import Run, chosen, load_matrix, stages
from flows.console import Watcher, make_console
from flows.matrix_table import METRICS, matrix_table
from flows.place import Place
from flows.plan import plan_all, verify_inputs
from infra.errors import CorruptArtifact
from tasks.report.matrix import render
from tasks.stage import Step


class Counting(Watcher):
    """Also counts the stages that were executed."""

    executed = 0

    def __call__(self, step: Step, doing: str, done: int, total: int, unit: str) -> None:
        super().__call__(step, doing, done, total, unit)
        self.executed += doing == "done"


def ablate(name: str, base: str | None, overrides: Sequence[str], only: Sequence[str], planning: bool) -> int:
    matrix, every = load_matrix(name, base, overrides)
    runs, place, console = chosen(every, only), Place.from_settings(), make_console()
    place.store.probe()
    planned = plan_all([run.last for run in runs], place.store)
    missing = [one for one in planned if one.runs]
    alone, distinct = stages(runs)
    console.print(
        f"{matrix.name} on {matrix.base}: {len(runs)} variants, {alone} stages if each ran by itself, {distinct} distinct; "
        f"{len(missing)} to do"
    )
    failed: dict[str, str] = {}
    if missing and not planning:
        if problems := verify_inputs(planned, place.store):
            raise CorruptArtifact("; ".join(problems))
        from flows.doctor import refuse_red_of_any

        refuse_red_of_any([(run.recipe, run.last) for run in runs], place)
        failed = run_matrix(matrix.name, runs, console)
    table = matrix_table(matrix, every, place.store, failed)
    show_matrix(console, table)
    for address, reason in failed.items():
        console.print(f"[red]failed[/] {address[:24]}: {escape(reason)}", highlight=False, soft_wrap=True)
    console.print(f"\nmatrix: {write_page(table, place)}", soft_wrap=True)
    return 1 if failed else 0


def run_matrix(name: str, runs: list[Run], console: Console) -> dict[str, str]:
    from flows.local import ablate_here

    with Counting(console) as watcher:
        failed = ablate_here(name, [run.recipe for run in runs], watcher)
    console.print(f"{watcher.executed} stages executed")
    return failed


def write_page(table: dict, place: Place) -> Path:
    target = place.workspace / "reports" / f"matrix-{table['name']}.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render(table), encoding="utf-8")
    return target


def show_matrix(console: Console, table: dict) -> None:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("variant", no_wrap=True)
    for metric in METRICS:
        for title in (metric.replace("_", " "), "Δ to full", "Holm p"):
            shown.add_column(title, justify="right", no_wrap=True)
    for row in table["rows"]:
        cells = [cell for metric in METRICS for cell in numbers(row["metrics"][metric])]
        shown.add_row(row["variant"], *(cells if row["state"] == "done" else [row["state"]]))
    console.print(shown)
    console.print(
        f"\nΔ on the same prompts, with {table['confidence']:.0%} intervals by bootstrap over prompts; "
        "p: McNemar's (accuracy), sign flips (win rate), Holm's correction over the matrix"
    )


def numbers(found: dict | None) -> list[str]:
    if found is None:
        return ["–", "", ""]
    value = f"{found['estimate']['value']:.1%}"
    if found["p"] is None:
        return [value, "", ""]
    change = found["difference"]
    span = f"{100 * change['value']:+.1f} \\[{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]"
    noise = " noise" if found["reading"] == "within noise" else ""
    sure = "< 0.001" if found["holm"] < 0.001 else f"{found['holm']:.3f}"
    return [value, span, f"{sure}{noise}"]
