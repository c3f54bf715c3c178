"""`fuse evaluate`: runs the missing steps of an examination, shows the results, and promotes a model that passes the gate."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flows.cli.console import Watcher, make_console
from flows.cli.costs import begin_budget, refuse_above_budget, show_costs
from flows.cli.suite_tables import show_suites
from flows.cli.tables import show_plan
from flows.config.examination import Collective, RecipeModel, load_examination
from flows.config.loading import load_recipe
from flows.evaluation import build_chains, model_step
from flows.plan import plan_all, verify_inputs
from flows.results.examination import summarise_examination
from flows.results.model_card import promote_model
from flows.results.pages import write_examination_page
from flows.workspace import Workspace
from infra.budget import read_spent
from infra.errors import BadInput, CorruptArtifact
from tasks.evaluation.judged.given_answers import Outputs

NOT_PROMOTED = 3


def run_evaluation(arguments: argparse.Namespace) -> int:
    examination, target = load_examination(arguments.examination, arguments.overrides), arguments.promote
    if target and not examination.gate:
        raise BadInput("--promote: the examination needs a section [gate]")
    if target and isinstance(examination.models[-1].model, Outputs | Collective):
        raise BadInput(f"--promote: {examination.names[-1]} is not a model, it only has answers")
    lasts, place, console = build_chains(examination), Workspace.from_settings(), make_console()
    place.store.probe()
    planned = plan_all(list(lasts.values()), place.store)
    failed: dict[str, str] = {}
    file = place.workspace / "budgets" / f"evaluation-{examination.name}.json"
    if arguments.plan:
        show_plan(console, planned)
        estimates = show_costs(console, planned, place, arguments.prices)
        refuse_above_budget(estimates, arguments.budget, read_spent(file))
    elif any(entry.runs for entry in planned):
        if problems := verify_inputs(planned, place.store):
            raise CorruptArtifact("; ".join(problems))
        if arguments.budget is not None:
            begin_budget(
                show_costs(console, planned, place, arguments.prices), arguments.budget, arguments.prices, file
            )
        from flows.run.local import examine_here

        with Watcher(console) as watcher:
            failed = examine_here(examination, watcher)
    found = summarise_examination(examination, lasts, place.store, failed)
    show_examination(console, found)
    for address, reason in failed.items():
        console.print(f"[red]failed[/] {address[:24]}: {escape(reason)}", highlight=False, soft_wrap=True)
    console.print(f"\nevaluation: {write_examination_page(found, place.workspace)}", soft_wrap=True)
    if found["gate"] and not arguments.plan and not failed:
        return through_the_gate(console, found, examination, place, target)
    return 1 if failed else 0


def through_the_gate(console: Console, found: dict, examination, place: Workspace, target: str | None) -> int:
    if not found["gate"]["passed"]:
        console.print("gate: [red]not promoted[/]: " + escape("; ".join(found["gate"]["against"])), soft_wrap=True)
        return NOT_PROMOTED
    console.print("gate: [green]passed[/]")
    if target:
        last = examination.models[-1].model
        recipe = load_recipe(last.recipe, last.set) if isinstance(last, RecipeModel) else None
        promote_model(model_step(examination.models[-1]), found, place, Path(target), recipe)
        console.print(f"promoted: {Path(target).absolute()}", soft_wrap=True)
    return 0


def show_examination(console: Console, found: dict) -> None:
    show_suites(console, found["suites"], found["models"])
    if found["averages"] and len(found["suites"]) > 1:
        averages = ", ".join(f"{model} {value:.1f}" for model, value in found["averages"].items())
        console.print(f"average over suites, each in percent of its full marks: {averages}")
