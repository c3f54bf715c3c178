"""`fuse …`: parses, prints, nothing else. Heavy imports wait until a command needs them."""

import argparse
import os
import sys
import time
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    from infra.errors import FULL, BadInput, CorruptArtifact, ProgramFailed, StoreUnreachable

    chosen = parser().parse_args(arguments)
    try:
        return chosen.command(chosen) or 0
    except CorruptArtifact as problem:
        print(f"fuse: {problem}\nfuse: `fuse verify RECIPE --repair` has just that made again", file=sys.stderr)
        return 2
    except BadInput as problem:
        print(f"fuse: {problem}", file=sys.stderr)
        return 2
    except PermissionError as problem:
        print(f"fuse: no right to use {problem.filename}: {problem.strerror}", file=sys.stderr)
        return 2
    except (ProgramFailed, StoreUnreachable) as problem:
        print(f"fuse: {problem}", file=sys.stderr)
        return 1
    except OSError as problem:
        if problem.errno not in FULL:
            raise
        where = f": {problem.filename}" if problem.filename else ""
        print(
            f"fuse: {os.strerror(problem.errno)}{where}; make room and run again, what is finished stays",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nfuse: interrupted; what is finished stays, the next run continues", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="fuse", description="Fuse several source language models into one target model (WRPO)."
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
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
    for name, command, text in (
        ("up", up, "start the whole stack on this machine: Prefect, an S3 server, a worker per pool, the deployments"),
        ("down", down, "end the stack; artifacts and history stay"),
        ("deploy", deploy, "register work pools, deployments and automations on the server of PREFECT_API_URL"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(command=command)
    housekeeping(commands)
    add_ablate(commands)
    add_evaluate(commands)
    return whole


def up(_: argparse.Namespace) -> None:
    from flows.stack import up

    print("starting what does not run yet: object store, Prefect, deployments, workers (a minute or two)", flush=True)
    state = up()
    print(f"Prefect's UI: {state['ui']}\nartifacts: {state['store']}")
    print(f"to use it in a shell: source {state['environment']}\nto end it: fuse down")


def deploy(_: argparse.Namespace) -> None:
    from flows.register import register
    from infra.errors import BadInput
    from infra.settings import api_given

    if not api_given():
        raise BadInput("PREFECT_API_URL: is not set; it says on which Prefect server the deployments are to be")
    register()
    print("work pools, deployments and automations are registered")


def gc(chosen: argparse.Namespace) -> None:
    from flows.console import make_console, show_garbage
    from flows.fusion import fusion
    from flows.gc import collect, pinned
    from flows.place import Place
    from flows.recipe import load
    from infra.errors import BadInput

    store = Place.from_settings().store
    kept = [fusion(load(recipe)) for recipe in chosen.keep]
    if chosen.delete and not kept and not pinned(store):
        raise BadInput(
            "--delete: nothing is kept; name the recipes to keep with --keep, or pin artifacts with fuse pin"
        )
    show_garbage(make_console(), collect(store, kept, chosen.days, chosen.delete), chosen.delete)


def pin(chosen: argparse.Namespace) -> None:
    from flows import gc
    from flows.place import Place
    from flows.show import find_artifact
    from infra.errors import BadInput

    store = Place.from_settings().store
    if (manifest := find_artifact(chosen.artifact, store)) is None:
        raise BadInput(f"{chosen.artifact}: not an artifact's address, as wrpo/1f3a would be")
    (gc.unpin if chosen.remove else gc.pin)(store, manifest)
    print(f"{manifest.stage}/{manifest.fingerprint}: {'unpinned' if chosen.remove else 'pinned'}")


def down(_: argparse.Namespace) -> None:
    from flows.stack import down

    print("everything has ended; artifacts and history stay" if down() else "nothing ran")


def housekeeping(commands) -> None:
    text = "list what no kept recipe or pin needs and no running flow uses; with --delete, delete it"
    one = commands.add_parser("gc", help=text, description=text)
    one.add_argument("--keep", metavar="RECIPE", action="append", default=[], help="a recipe to keep; may be repeated")
    one.add_argument("--days", type=float, default=30, help="only what was last changed so long ago (30)")
    one.add_argument("--delete", action="store_true", help="delete it; without this nothing changes")
    one.set_defaults(command=gc)
    text = "keep an artifact, and what it was made from, from fuse gc"
    one = commands.add_parser("pin", help=text, description=text)
    one.add_argument(
        "artifact", metavar="ARTIFACT", help="its address STAGE/FINGERPRINT (a unique beginning is enough)"
    )
    one.add_argument("--remove", action="store_true", help="no longer")
    one.set_defaults(command=pin)


def add_ablate(commands) -> None:
    text = "run a matrix of variants of one recipe, what they share once, and compare them"
    one = commands.add_parser("ablate", help=text, description=text)
    one.add_argument("matrix", metavar="MATRIX", help="a TOML file, or the name of a shipped one (demo)")
    one.add_argument("--base", metavar="RECIPE", help="another base recipe than the matrix names")
    one.add_argument("--set", metavar="FIELD=VALUE", action="append", default=[], dest="overrides", help="of the base")
    one.add_argument("--only", metavar="VARIANT", action="append", default=[], help="beside the base; may be repeated")
    one.add_argument("--plan", action="store_true", help="say what would run, and what is known already; run nothing")
    one.set_defaults(command=ablate)


def chain(chosen: argparse.Namespace):
    """The recipe's chain, and the place with a store that can be used."""
    from flows.fusion import fusion
    from flows.place import Place
    from flows.recipe import load

    recipe = load(chosen.recipe, chosen.overrides)
    place = Place.from_settings()
    return recipe, fusion(recipe), place


def run(chosen: argparse.Namespace) -> int:
    from flows.console import Watcher, make_console
    from flows.plan import plan as plan_of
    from flows.plan import verify_inputs
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
    from flows.console import make_console, show_plan
    from flows.plan import plan as plan_of

    _, last, place = chain(chosen)
    show_plan(make_console(), plan_of(last, place.store))


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
        pieces = verification.pieces_of_artifact(manifest, store)
    else:
        _, last, place = chain(chosen)
        pieces = verification.pieces_of_recipe(last, store)
    broken = verification.damaged(pieces, store, chosen.sample, seed=time.time_ns())
    show_damage(console, pieces, broken, chosen.sample)
    if broken and chosen.repair:
        with Watcher(console) as watcher:
            said = verification.repair(broken, last, place, watcher)
        console.print(*said, sep="\n", soft_wrap=True)
        broken = verification.damaged(verification.pieces_of_recipe(last, store), store)
        show_damage(console, pieces, broken, None)
    return 1 if broken else 0


def add_evaluate(commands) -> None:
    text = (
        "evaluate models on suites, by a judge at an endpoint or by gold answers; exit code 3: the gate is not passed"
    )
    one = commands.add_parser("evaluate", help=text, description=text)
    one.add_argument("examination", metavar="EXAMINATION", help="a TOML file: models, suites, judge, gate")
    one.add_argument("--set", metavar="FIELD=VALUE", action="append", default=[], dest="overrides", help="of the file")
    one.add_argument("--plan", action="store_true", help="say what would run, and what is known already; run nothing")
    one.add_argument(
        "--promote", metavar="FOLDER", help="where the last model goes, with its card, if it passes the gate"
    )
    one.set_defaults(command=evaluate)


def evaluate(chosen: argparse.Namespace) -> int:
    from flows.evaluating import evaluate

    return evaluate(chosen.examination, chosen.overrides, chosen.plan, chosen.promote)


def ablate(chosen: argparse.Namespace) -> int:
    from flows.ablating import ablate

    return ablate(chosen.matrix, chosen.base, chosen.overrides, chosen.only, chosen.plan)


def finish(last, place, console) -> int:
    from flows.console import show_results

    show_results(console, place.numbers(last))
    console.print(f"\nreport: {place.report(last)}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
