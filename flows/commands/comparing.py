"""`fuse ablate`, `evaluate`: many variants of a recipe, many models on suites."""

import argparse


def add(commands) -> None:
    add_ablate(commands)
    add_evaluate(commands)


def add_ablate(commands) -> None:
    text = "run a matrix of variants of one recipe, what they share once, and compare them"
    one = commands.add_parser("ablate", help=text, description=text)
    one.add_argument("matrix", metavar="MATRIX", help="a TOML file, or the name of a shipped one (demo)")
    one.add_argument("--base", metavar="RECIPE", help="another base recipe than the matrix names")
    one.add_argument("--set", metavar="FIELD=VALUE", action="append", default=[], dest="overrides", help="of the base")
    one.add_argument("--only", metavar="VARIANT", action="append", default=[], help="beside the base; may be repeated")
    one.add_argument("--plan", action="store_true", help="say what would run, and what is known already; run nothing")
    one.set_defaults(command=ablate)


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


def ablate(chosen: argparse.Namespace) -> int:
    from flows.cli.ablate import ablate

    return ablate(chosen.matrix, chosen.base, chosen.overrides, chosen.only, chosen.plan)


def evaluate(chosen: argparse.Namespace) -> int:
    from flows.cli.evaluate import evaluate

    return evaluate(chosen.examination, chosen.overrides, chosen.plan, chosen.promote)
