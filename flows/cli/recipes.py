"""`fuse run`, `doctor`, `plan`, `report`, `export`: the commands that take a recipe."""

import argparse
from pathlib import Path

from flows.cli.console import Watcher, make_console
from flows.cli.costs import begin_budget, refuse_above_budget, show_costs
from flows.cli.suite_tables import show_suites
from flows.cli.tables import show_findings, show_needs, show_plan, show_remarks, show_results
from flows.config.loading import load_recipe
from flows.config.recipe import Recipe
from flows.doctor import examine_models, find_gpu_shortage, refuse, refuse_red, select_blocking
from flows.fusion import fusion
from flows.plan import plan_chain as make_plan
from flows.plan import verify_inputs
from flows.preflight import list_needs, load_filled
from flows.pricing.estimate import estimate_plan
from flows.pricing.kept import keep_estimates
from flows.pricing.prices import load_prices
from flows.remarks import list_remarks
from flows.workspace import Workspace
from infra.budget import BUDGET, read_spent
from infra.errors import BadInput, CorruptArtifact
from infra.machine import find_machine, parse_machine
from infra.settings import settings
from tasks.doctor.findings import Finding
from tasks.stage import Step


def load_chain(chosen: argparse.Namespace) -> tuple[Recipe, Step, Workspace]:
    recipe = load_recipe(chosen.recipe, chosen.overrides)
    place = Workspace.from_settings()
    return recipe, fusion(recipe), place


def run_recipe(chosen: argparse.Namespace) -> None:
    recipe, report, place = load_chain(chosen)
    place.store.probe()
    console = make_console()
    planned = make_plan(report, place.store)
    missing = [entry for entry in planned if entry.runs]
    console.print(
        f"{recipe.name}: {len(missing)} of {len(planned)} steps to do"
        if missing
        else f"{recipe.name}: nothing to do, all steps are done"
    )
    if missing:
        show_remarks(console, list_remarks(recipe, report, place.store))
        if problems := verify_inputs(planned, place.store):
            raise CorruptArtifact("; ".join(problems))
        estimates = estimate_plan(planned, place.store, load_prices(chosen.prices))
        begin_budget(estimates, chosen.budget, chosen.prices, budget_file(report, place))
        from flows.run.local import run_here  # loads Prefect

        refuse_red(recipe, report, place)
        keep_estimates(estimates, report.address, place.store)
        try:
            with Watcher(console) as watcher:
                run_here(recipe, watcher)
        finally:
            BUDGET.save()
    print_report(report, place)


def run_doctor(chosen: argparse.Namespace) -> int:
    """Compares needs with a machine, before anything is downloaded; then checks the models, unless a machine was described:
    the description may be of any machine, and the recipe may have open slots."""
    console = make_console()
    found = parse_machine(chosen.machine) if chosen.machine else find_machine(settings().workspace)
    filled, slots = load_filled(chosen.recipe, chosen.overrides)
    needs = list_needs(fusion(filled), found)
    show_needs(console, needs, found)
    findings = [Finding(need.stage, "memory", True, need.note) for need in needs if need.state == "red"]
    if chosen.machine:
        if slots:
            console.print(f"open: {', '.join(slots)}", soft_wrap=True, markup=False)
        return 1 if select_blocking(filled, findings) else 0
    recipe, last, place = load_chain(chosen)
    findings += examine_models(recipe, last, place)
    show_findings(console, findings, recipe.doctor.accepted)
    return 1 if select_blocking(recipe, findings) else 0


def show_recipe_plan(chosen: argparse.Namespace) -> None:
    recipe, last, place = load_chain(chosen)
    console = make_console()
    planned = make_plan(last, place.store)
    show_plan(console, planned)
    estimates = show_costs(console, planned, place, chosen.prices)
    show_remarks(console, list_remarks(recipe, last, place.store))
    refuse(select_blocking(recipe, find_gpu_shortage(last)))
    refuse_above_budget(estimates, chosen.budget, read_spent(budget_file(last, place)))


def budget_file(last: Step, place: Workspace) -> Path:
    """Where a recipe's runs keep what they spent under a budget."""
    return place.workspace / "budgets" / f"{last.fingerprint}.json"


def show_report(chosen: argparse.Namespace) -> None:
    _, last, place = load_chain(chosen)
    if place.store.manifest(last.stage.name, last.fingerprint) is None:
        raise BadInput(f"{chosen.recipe}: its report {last.address} is not in the store yet; fuse run makes it")
    print_report(last, place)


def export_records(chosen: argparse.Namespace) -> None:
    from flows.results.export import write_export

    recipe, last, place = load_chain(chosen)
    write_export(recipe, last, place.store, chosen.form, Path(chosen.to).absolute(), chosen.candidates)
    print(Path(chosen.to).absolute())


def print_report(last: Step, place: Workspace) -> None:
    console, numbers = make_console(), place.numbers(last)
    show_results(console, numbers)
    for suite in numbers["suites"]:
        show_suites(console, [suite], list(suite["counts"]))
    console.print(f"\nreport: {place.report(last)}", soft_wrap=True)
