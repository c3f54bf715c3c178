"""`fuse ablate`: runs the missing steps of a matrix, then compares its variants, on the terminal and as a page."""

import argparse

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.ablation import VariantRun, choose_variants, count_steps, list_goals, load_matrix
from flows.cli.console import Watcher, make_console
from flows.cli.costs import begin_budget, refuse_above_budget, show_costs
from flows.plan import plan_all, verify_inputs
from flows.results.matrix import matrix_table
from flows.results.matrix_text import column_title, matrix_cells
from flows.results.pages import write_matrix_page
from flows.workspace import Workspace
from infra.budget import read_spent
from infra.errors import CorruptArtifact
from tasks.stage import Step


class Counting(Watcher):
    """Shows progress and counts the executed stages."""

    executed = 0

    def __call__(self, step: Step, doing: str, done: int, total: int, unit: str) -> None:
        super().__call__(step, doing, done, total, unit)
        self.executed += doing == "done"


def run_ablation(arguments: argparse.Namespace) -> int:
    matrix, all_runs = load_matrix(arguments.matrix, arguments.base, arguments.overrides)
    runs, place, console = choose_variants(all_runs, arguments.only), Workspace.from_settings(), make_console()
    place.store.probe()
    planned = plan_all(list_goals(runs), place.store)
    missing = [entry for entry in planned if entry.runs]
    separate, distinct = count_steps(runs)
    console.print(
        f"{matrix.name} on {matrix.base}: {len(runs)} variants, {separate} stages if each ran separately, "
        f"{distinct} distinct; {len(missing)} to do"
    )
    failed: dict[str, str] = {}
    if missing and (arguments.plan or arguments.budget is not None):
        estimates = show_costs(console, planned, place, arguments.prices)
        file = place.workspace / "budgets" / f"matrix-{matrix.name}.json"
        if arguments.plan:
            refuse_above_budget(estimates, arguments.budget, read_spent(file))
        else:
            begin_budget(estimates, arguments.budget, arguments.prices, file)
    if missing and not arguments.plan:
        if problems := verify_inputs(planned, place.store):
            raise CorruptArtifact("; ".join(problems))
        from flows.doctor import refuse_red_of_any

        refuse_red_of_any([(run.recipe, run.last) for run in runs], place)
        failed = run_matrix(matrix.name, runs, console)
    table = matrix_table(matrix, all_runs, place.store, failed)
    show_matrix(console, table)
    for address, reason in failed.items():
        console.print(f"[red]failed[/] {address[:24]}: {escape(reason)}", highlight=False, soft_wrap=True)
    console.print(f"\nmatrix: {write_matrix_page(table, place.workspace)}", soft_wrap=True)
    return 1 if failed else 0


def run_matrix(name: str, runs: list[VariantRun], console: Console) -> dict[str, str]:
    from flows.run.local import ablate_here  # loads Prefect

    with Counting(console) as watcher:
        failed = ablate_here(name, [run.recipe for run in runs], watcher)
    console.print(f"{watcher.executed} stages executed")
    return failed


def show_matrix(console: Console, table: dict) -> None:
    """Prints one table of the recipe's metrics, then a table per suite: one table for all is too wide for a terminal."""
    suites = [[column] for column in table["columns"] if column["scale"] == "points"]
    for columns in ([column for column in table["columns"] if column["scale"] == "share"], *suites):
        shown = Table(box=None, pad_edge=False, header_style="bold")
        shown.add_column("variant", no_wrap=True)
        for column in columns:
            for title in (escape(column_title(column)), "Δ to full", "Holm p"):
                shown.add_column(title, justify="right", no_wrap=True)
        for row in table["rows"]:
            cells = (escape(cell) for column in columns for cell in matrix_cells(row, column))
            shown.add_row(row["variant"], *cells)
        console.print(shown)
        console.print()
    for row in table["rows"]:
        if row["no_accuracy"]:
            console.print(f"{row['variant']}: no accuracy, because {row['no_accuracy']}", markup=False)
    console.print(
        f"Δ on the same prompts, with {table['confidence']:.0%} intervals by bootstrap over prompts; p: McNemar's test "
        "(accuracy), sign flips (win rate), for a suite the test in its results; Holm's correction over the matrix"
    )
