"""`fuse run`, `doctor`, `plan`, `report`, `export`: the commands that take a recipe."""

import argparse
from pathlib import Path

from flows.cli.console import Watcher, make_console
from flows.cli.suite_tables import show_suites
from flows.cli.tables import show_findings, show_plan, show_remarks, show_results
from flows.config.loading import load
from flows.config.recipe import Recipe
from flows.doctor import asking_too_much, examine, refuse, refuse_red, stopping
from flows.fusion import fusion
from flows.plan import plan as make_plan
from flows.plan import verify_inputs
from flows.remarks import remarks
from flows.workspace import Place
from infra.errors import BadInput, CorruptArtifact
from tasks.stage import Step


def load_chain(chosen: argparse.Namespace) -> tuple[Recipe, Step, Place]:
    recipe = load(chosen.recipe, chosen.overrides)
    place = Place.from_settings()
    return recipe, fusion(recipe), place


def run(chosen: argparse.Namespace) -> None:
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
        show_remarks(console, remarks(recipe, report, place.store))
        if problems := verify_inputs(planned, place.store):
            raise CorruptArtifact("; ".join(problems))
        from flows.run.local import run_here  # loads Prefect

        refuse_red(recipe, report, place)
        with Watcher(console) as watcher:
            run_here(recipe, watcher)
    print_report(report, place)


def doctor(chosen: argparse.Namespace) -> int:
    recipe, last, place = load_chain(chosen)
    findings = examine(recipe, last, place)
    show_findings(make_console(), findings, recipe.doctor.accepted)
    return 1 if stopping(recipe, findings) else 0


def plan(chosen: argparse.Namespace) -> None:
    recipe, last, place = load_chain(chosen)
    console = make_console()
    show_plan(console, make_plan(last, place.store))
    show_remarks(console, remarks(recipe, last, place.store))
    refuse(stopping(recipe, asking_too_much(last)))


def report(chosen: argparse.Namespace) -> None:
    _, last, place = load_chain(chosen)
    if place.store.manifest(last.stage.name, last.fingerprint) is None:
        raise BadInput(f"{chosen.recipe}: its report {last.address} is not in the store yet; fuse run makes it")
    print_report(last, place)


def export(chosen: argparse.Namespace) -> None:
    from flows.results.export import export

    recipe, last, place = load_chain(chosen)
    export(recipe, last, place.store, chosen.form, Path(chosen.to).absolute(), chosen.candidates)
    print(Path(chosen.to).absolute())


def print_report(last: Step, place: Place) -> None:
    console, numbers = make_console(), place.numbers(last)
    show_results(console, numbers)
    for suite in numbers["suites"]:
        show_suites(console, [suite], list(suite["counts"]))
    console.print(f"\nreport: {place.report(last)}", soft_wrap=True)
