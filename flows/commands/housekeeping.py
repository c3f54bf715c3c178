"""`fuse gc`, `pin`: what of the store is kept."""

import argparse


def add(commands) -> None:
    text = "list what no kept recipe or pin needs and no running flow uses; with --delete, delete it"
    one = commands.add_parser("gc", help=text, description=text)
    for option, kind in (("--keep", "recipe"), ("--keep-matrix", "matrix"), ("--keep-examination", "examination")):
        text = f"keep what this {kind} needs; may be repeated"
        one.add_argument(option, metavar=kind.upper(), action="append", default=[], help=text)
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


def gc(chosen: argparse.Namespace) -> None:
    from flows.cli.housekeeping import sweep
    from flows.upkeep.garbage import chains_of

    sweep(chains_of(chosen.keep, chosen.keep_matrix, chosen.keep_examination), chosen.days, chosen.delete)


def pin(chosen: argparse.Namespace) -> None:
    from flows.cli.housekeeping import pin

    pin(chosen.artifact, chosen.remove)
