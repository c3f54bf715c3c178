"""The commands of `fuse` and their options. Loads nothing heavy: each command names its module and function, and `main.py`
imports the module when the command runs."""

import argparse

RECIPE = "a recipe: a TOML file, or the name of a shipped one (demo)"
ARTIFACT = "a recipe, or an artifact's address STAGE/FINGERPRINT (a unique beginning is enough)"
PLAN = "show which steps would run and which are in the store; run nothing"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fuse", description="Fuse several source language models into one target model (WRPO)."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add_commands in (add_recipe_commands, add_ablate, add_evaluate, add_upkeep_commands, add_stack_commands):
        add_commands(commands)
    return parser


def add_recipe_commands(commands) -> None:
    for name, function, subject, text in (
        ("run", "recipes:run_recipe", RECIPE, "run the missing steps of a recipe, then print its results"),
        (
            "doctor",
            "recipes:run_doctor",
            RECIPE,
            "compare each stage's GPUs, memory and disk with this machine; check the models' templates, end tokens and "
            "contexts on the real prompts; load no weights",
        ),
        ("plan", "recipes:show_recipe_plan", RECIPE, "show which steps a run would do, and why; run nothing"),
        (
            "show",
            "artifacts:show_artifact",
            ARTIFACT,
            "show the lineage of an artifact or of a recipe's report, up to the prompts",
        ),
        (
            "sources",
            "sources:show_sources",
            RECIPE,
            "show what each source adds to the best reward and what it costs, from stored scores; make no rows",
        ),
        ("report", "recipes:show_report", RECIPE, "print a finished recipe's results and the path of its report"),
        (
            "verify",
            "artifacts:verify_artifacts",
            ARTIFACT,
            "read all stored files of a recipe, or of an artifact and its inputs; list the damaged ones",
        ),
        (
            "publish",
            "publish:publish_recipe",
            RECIPE,
            "show what a hub would get: a recipe's final model, or its training records, with a card; --push uploads it",
        ),
        (
            "export",
            "recipes:export_records",
            RECIPE,
            "write a recipe's training records for TRL, LLaMA-Factory or a hub",
        ),
    ):
        command = add_command(commands, name, function, text)
        command.add_argument("recipe", metavar="ARTIFACT|RECIPE" if subject is ARTIFACT else "RECIPE", help=subject)
        add_overrides(command, "override a field of the recipe, for example wrpo.alpha=0.3; may be repeated")
        if name in ("run", "plan"):
            add_prices(command)
        if name == "doctor":
            text = "compare with this machine instead, and check nothing else: '8x80GB, 1TB RAM, 4TB disk'"
            command.add_argument("--machine", metavar="TEXT", help=text)
        if name == "verify":
            command.add_argument("--sample", metavar="N", type=int, help="read only N files, chosen at random")
            command.add_argument("--repair", action="store_true", help="make the damaged pieces of a recipe again")
            command.add_argument(
                "--resample", metavar="SHARE", help="make this share of the rows again, for example 1%%, and compare"
            )
            command.add_argument(
                "--seed", metavar="N", type=int, help="chooses the rows of --resample; default: the time"
            )
        if name == "publish":
            command.add_argument("--what", choices=("model", "data"), default="model", help="default: the model")
            command.add_argument("--name", metavar="OWNER/NAME", required=True, help="the repository on the hub")
            command.add_argument("--push", action="store_true", help="upload; without this nothing leaves this machine")
            command.add_argument("--public", action="store_true", help="a new repository is public; default: private")
        if name == "export":
            command.add_argument("--format", choices=("trl", "llama-factory", "hub"), required=True, dest="form")
            command.add_argument("--to", metavar="FOLDER", required=True, help="a new folder")
            command.add_argument("--candidates", action="store_true", help="also write all responses with their scores")


def add_ablate(commands) -> None:
    text = "run all variants of a recipe (shared steps run once) and compare them"
    command = add_command(commands, "ablate", "ablate:run_ablation", text)
    command.add_argument("matrix", metavar="MATRIX", help="a TOML file, or the name of a shipped one (demo)")
    command.add_argument("--base", metavar="RECIPE", help="use this base recipe instead of the matrix's")
    add_overrides(command, "override a field of the base recipe; may be repeated")
    command.add_argument(
        "--only", metavar="VARIANT", action="append", default=[], help="run this variant and the base; may be repeated"
    )
    command.add_argument("--plan", action="store_true", help=PLAN)
    add_prices(command)


def add_evaluate(commands) -> None:
    text = (
        "evaluate models on suites, with a judge at an endpoint or gold answers; exit code 3: the gate was not passed"
    )
    command = add_command(commands, "evaluate", "evaluate:run_evaluation", text)
    command.add_argument("examination", metavar="EXAMINATION", help="a TOML file: models, suites, judge, gate")
    add_overrides(command, "override a field of the examination; may be repeated")
    command.add_argument("--plan", action="store_true", help=PLAN)
    add_prices(command)
    command.add_argument(
        "--promote", metavar="FOLDER", help="copy the last model and its card to this folder if it passes the gate"
    )


def add_upkeep_commands(commands) -> None:
    text = "list artifacts that are not needed by a kept recipe, a pin or a running flow; with --delete, delete them"
    command = add_command(commands, "gc", "housekeeping:collect_garbage", text)
    for option, kind in (("--keep", "recipe"), ("--keep-matrix", "matrix"), ("--keep-examination", "examination")):
        text = f"keep the artifacts that this {kind} needs; may be repeated"
        command.add_argument(option, metavar=kind.upper(), action="append", default=[], help=text)
    command.add_argument(
        "--days", type=float, default=30, help="only artifacts not changed for this number of days (default 30)"
    )
    command.add_argument("--delete", action="store_true", help="delete them; without this nothing changes")
    command = add_command(commands, "pin", "housekeeping:pin_artifact", "keep an artifact and its inputs from fuse gc")
    text = "its address STAGE/FINGERPRINT (a unique beginning is enough)"
    command.add_argument("artifact", metavar="ARTIFACT", help=text)
    command.add_argument("--remove", action="store_true", help="remove the pin")


def add_stack_commands(commands) -> None:
    text = "start the whole stack on this machine: Prefect, an S3 server, a worker per pool, the deployments"
    add_command(commands, "up", "stack:start_stack", text)
    add_command(commands, "down", "stack:stop_stack", "stop the stack; artifacts and history stay")
    text = "register work pools, deployments and automations on the server of PREFECT_API_URL"
    add_command(commands, "deploy", "stack:deploy_flows", text)


def add_command(commands, name: str, function: str, text: str) -> argparse.ArgumentParser:
    """Adds a command; `function` is MODULE:FUNCTION in this folder."""
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(command=function)
    return command


def add_prices(command: argparse.ArgumentParser) -> None:
    command.add_argument("--prices", metavar="FILE", help="a TOML file: prices of GPUs and of endpoints")
    command.add_argument(
        "--budget",
        metavar="DOLLARS",
        type=float,
        help="refuse a run that is expected to cost more; pause when it is spent",
    )


def add_overrides(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--set", metavar="FIELD=VALUE", action="append", default=[], dest="overrides", help=text)
