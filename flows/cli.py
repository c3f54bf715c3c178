"""`fuse …`: parses, prints, nothing else. Heavy imports wait until a command needs them."""

import argparse
import os
import sys
from collections.abc import Sequence

from flows.commands import comparing, housekeeping, recipes, stack
from infra.interruption import one_a_second


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    with one_a_second():
        return carry_out(chosen)


def carry_out(chosen: argparse.Namespace) -> int:
    """The command's exit code; a failure that a person can mend is printed as one line."""
    from infra.errors import FULL, REFUSED, BadInput, CorruptArtifact, ProgramFailed, StoreUnreachable, Unavailable
    from infra.visible import one_line, visible

    try:
        return chosen.command(chosen) or 0
    except CorruptArtifact as problem:
        print(
            f"fuse: {one_line(str(problem))}; `fuse verify RECIPE --repair` has just that made again", file=sys.stderr
        )
        return 2
    except BadInput as problem:
        print(f"fuse: {one_line(str(problem))}", file=sys.stderr)
        return 2
    except (ProgramFailed, StoreUnreachable, Unavailable) as problem:
        print(f"fuse: {visible(str(problem))}", file=sys.stderr)
        return 1
    except OSError as problem:
        if problem.errno not in (*FULL, *REFUSED):
            raise
        full = problem.errno in FULL
        where = f": {problem.filename}" if problem.filename else ""
        advice = "; make room and run again, what is finished stays" if full else ""
        print(f"fuse: {one_line(os.strerror(problem.errno) + where)}{advice}", file=sys.stderr)
        return 1 if full else 2
    except KeyboardInterrupt:
        print("\nfuse: interrupted; what is finished stays, the next run continues", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="fuse", description="Fuse several source language models into one target model (WRPO)."
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for room in (recipes, comparing, housekeeping, stack):
        room.add(commands)
    return whole


if __name__ == "__main__":
    sys.exit(main())
