"""`fuse run`, `plan`, `show` and the others that take a recipe. Heavy imports wait until a command needs them."""

import argparse
import time


def add(commands) -> None:
    for name, command, text in (
        ("run", run, "run what is missing of a recipe, then print its results"),
        (
            "doctor",
            doctor,
            "look at the models' templates, end tokens and contexts on the real prompts; load no weights",
        ),
        ("plan", plan, "say what a run would do and why; run nothing"),
        ("show", show, "lineage of an artifact or of a recipe's report, up to the prompts"),
        ("report", report, "print a finished recipe's results and where its report is"),
        ("verify", verify, "read everything of an artifact's lineage or of a recipe again; say what is damaged"),
        ("export", export, "write a recipe's training records for TRL, LLaMA-Factory or a hub"),
    ):
        one = commands.add_parser(name, help=text, description=text)
        what = (
            "a recipe, or an artifact's address STAGE/FINGERPRINT (a unique beginning is enough)"
            if name in ("show", "verify")
            else "a recipe: a TOML file, or the name of a shipped one (demo)"
        )
        one.add_argument("recipe", metavar="ARTIFACT|RECIPE" if name in ("show", "verify") else "RECIPE", help=what)
        one.add_argument(
            "--set",
            metavar="FIELD=VALUE",
            action="append",
            default=[],
            dest="overrides",
            help="override a field of the recipe, for example wrpo.alpha=0.3; may be repeated",
        )
        if name == "verify":
            one.add_argument("--sample", metavar="N", type=int, help="only N files, others each time")
            one.add_argument("--repair", action="store_true", help="have exactly what is damaged made again (a recipe)")
        if name == "export":
            one.add_argument("--format", choices=("trl", "llama-factory", "hub"), required=True, dest="form")
            one.add_argument("--to", metavar="FOLDER", required=True, help="a new folder")
            one.add_argument("--candidates", action="store_true", help="also all responses with their scores")
        one.set_defaults(command=command)


def chain(chosen: argparse.Namespace):
    """The recipe's chain, and the place with a store that can be used."""
    from flows.fusion import fusion
    from flows.place import Place
    from flows.written import load

    recipe = load(chosen.recipe, chosen.overrides)
    place = Place.from_settings()
    return recipe, fusion(recipe), place


def run(chosen: argparse.Namespace) -> int:
    from flows.console import Watcher, make_console, show_remarks
    from flows.plan import plan as plan_of
    from flows.plan import verify_inputs
    from flows.remarks import remarks
    from infra.errors import CorruptArtifact

    recipe, last, place = chain(chosen)
    place.store.probe()
    console = make_console()
    planned = plan_of(last, place.store)
    runs = [one for one in planned if one.runs]
    console.print(
        f"{recipe.name}: {len(runs)} of {len(planned)} steps to do"
        if runs
        else f"{recipe.name}: nothing to do, all steps are in place"
    )
    if runs:
        show_remarks(console, remarks(recipe, last, place.store))
        if problems := verify_inputs(planned, place.store):
            raise CorruptArtifact("; ".join(problems))
        from flows.doctor import refuse_red
        from flows.local import run_here

        refuse_red(recipe, last, place)
        with Watcher(console) as watcher:
            run_here(recipe, watcher)
    return finish(last, place, console)


def doctor(chosen: argparse.Namespace) -> int:
    from flows.console import make_console, show_findings
    from flows.doctor import examine, stopping

    recipe, last, place = chain(chosen)
    findings = examine(recipe, last, place)
    show_findings(make_console(), findings, recipe.doctor.accepted)
    return 1 if stopping(recipe, findings) else 0


def plan(chosen: argparse.Namespace) -> None:
    from flows.console import make_console, show_plan, show_remarks
    from flows.plan import plan as plan_of
    from flows.remarks import remarks

    recipe, last, place = chain(chosen)
    console = make_console()
    show_plan(console, plan_of(last, place.store))
    show_remarks(console, remarks(recipe, last, place.store))


def show(chosen: argparse.Namespace) -> None:
    from flows.console import make_console
    from flows.place import Place
    from flows.show import find_artifact, show_lineage

    place = Place.from_settings()
    manifest = find_artifact(chosen.recipe, place.store)
    if manifest is None:
        from infra.errors import BadInput

        _, last, _ = chain(chosen)
        manifest = place.store.manifest(last.stage.name, last.fingerprint)
        if manifest is None:
            raise BadInput(
                f"{chosen.recipe}: its report {last.address} is not in the store yet; fuse plan says what is missing"
            )
    show_lineage(make_console(), manifest, place.store)


def report(chosen: argparse.Namespace) -> int:
    from flows.console import make_console
    from infra.errors import BadInput

    _, last, place = chain(chosen)
    if place.store.manifest(last.stage.name, last.fingerprint) is None:
        raise BadInput(f"{chosen.recipe}: its report {last.address} is not in the store yet; fuse run makes it")
    return finish(last, place, make_console())


def export(chosen: argparse.Namespace) -> None:
    from pathlib import Path

    from flows.export import export

    recipe, last, place = chain(chosen)
    export(recipe, last, place.store, chosen.form, Path(chosen.to).absolute(), chosen.candidates)
    print(Path(chosen.to).absolute())


def verify(chosen: argparse.Namespace) -> int:
    from flows import pieces as looked_at
    from flows import verify as verification
    from flows.console import Watcher, make_console, show_damage
    from flows.place import Place
    from flows.show import find_artifact
    from infra.errors import BadInput

    if chosen.sample is not None and chosen.sample < 1:
        raise BadInput(f"--sample: a number of files from 1 on, not {chosen.sample}")
    store, console, last = Place.from_settings().store, make_console(), None
    manifest = find_artifact(chosen.recipe, store)
    if manifest and chosen.repair:
        raise BadInput(f"--repair: {chosen.recipe} is an artifact; a recipe is needed, which says how things are made")
    if manifest:
        pieces = looked_at.pieces_of_artifact(manifest, store)
    else:
        _, last, place = chain(chosen)
        pieces = looked_at.pieces_of_recipe(last, store)
    broken = verification.damaged(pieces, store, chosen.sample, seed=time.time_ns())
    show_damage(console, pieces, broken, chosen.sample)
    if broken and chosen.repair:
        with Watcher(console) as watcher:
            said = verification.repair(broken, last, place, watcher)
        console.print(*said, sep="\n", markup=False, soft_wrap=True)
        broken = verification.damaged(looked_at.pieces_of_recipe(last, store), store)
        show_damage(console, pieces, broken, None)
    return 1 if broken else 0


def finish(last, place, console) -> int:
    from flows.console import show_results
    from flows.suite_tables import show_suites

    numbers = place.numbers(last)
    show_results(console, numbers)
    for suite in numbers["suites"]:
        show_suites(console, [suite], list(suite["counts"]))
    console.print(f"\nreport: {place.report(last)}", soft_wrap=True)
    return 0
