"""`fuse ablate`: runs what a matrix lacks, then says what its variants changed, on the terminal and as a page."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.ablation import Run, chosen, load_matrix, stages, wanted
from flows.console import Watcher, make_console
from flows.matrix_table import matrix_table
from flows.place import Place
from flows.plan import plan_all, verify_inputs
from infra.errors import CorruptArtifact
from tasks.report.matrix import render
from tasks.stage import Step

SHOWN: dict[str, Callable[[float], str]] = {
    "share": lambda value: f"{value:.1%}",
    "points": lambda value: f"{value:.2f}",
}
CHANGED: dict[str, Callable[[float], str]] = {
    "share": lambda value: f"{100 * value:+.1f}",
    "points": lambda value: f"{value:+.2f}",
}


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
    planned = plan_all(wanted(runs), place.store)
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
    """The demo's metrics side by side, then a table per suite: a terminal is not wide enough for all."""
    suites = [[column] for column in table["columns"] if column["scale"] == "points"]
    for columns in ([column for column in table["columns"] if column["scale"] == "share"], *suites):
        shown = Table(box=None, pad_edge=False, header_style="bold")
        shown.add_column("variant", no_wrap=True)
        for column in columns:
            for title in (escape(headed(column)), "Δ to full", "Holm p"):
                shown.add_column(title, justify="right", no_wrap=True)
        for row in table["rows"]:
            shown.add_row(row["variant"], *(cell for column in columns for cell in numbers(row, column)))
        console.print(shown)
        console.print()
    for row in table["rows"]:
        if row["no_accuracy"]:
            console.print(f"{row['variant']}: no accuracy: {row['no_accuracy']}", markup=False)
    console.print(
        f"Δ on the same prompts, with {table['confidence']:.0%} intervals by bootstrap over prompts; p: McNemar's (accuracy), "
        "sign flips (win rate), of a suite as in its own results; Holm's correction over the matrix"
    )


def headed(column: dict) -> str:
    return column["title"] if column["scale"] == "share" else f"{column['title']} {column['measure']}"


def numbers(row: dict, column: dict) -> list[str]:
    found, state = row["metrics"][column["key"]], row["states"].get(column["key"], row["state"])
    if state != "done":
        return [escape(state), "", ""]
    if found is None:
        return ["–", "", ""]
    value, change = SHOWN[column["scale"]](found["estimate"]["value"]), found["difference"]
    if change is None:
        return [value, escape(found.get("alone", "")), ""]
    middle, low, high = (CHANGED[column["scale"]](change[end]) for end in ("value", "low", "high"))
    noise = " noise" if change["reading"] == "within noise" else ""
    sure = "< 0.001" if change["holm"] < 0.001 else f"{change['holm']:.3f}"
    return [value, f"{middle} \\[{low}, {high}]", f"{sure}{noise}"]
