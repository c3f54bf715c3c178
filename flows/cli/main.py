"""The command `fuse`: runs the chosen command and turns known errors into one line and an exit code."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module

from flows.cli.parser import make_parser
from infra.interruption import one_a_second


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = make_parser().parse_args(arguments)
    with one_a_second():
        return carry_out(chosen)


def carry_out(chosen: Namespace) -> int:
    """Runs the command; returns its exit code."""
    from infra.errors import FULL, REFUSED, BadInput, CorruptArtifact, ProgramFailed, StoreUnreachable, Unavailable
    from infra.visible import one_line, visible

    try:
        module, _, function = chosen.command.partition(":")
        return getattr(import_module(f"flows.cli.{module}"), function)(chosen) or 0
    except CorruptArtifact as problem:
        print(f"fuse: {one_line(str(problem))}; `fuse verify RECIPE --repair` makes it again", file=sys.stderr)
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
        place = f": {problem.filename}" if problem.filename else ""
        advice = "; free some space and run again: finished steps are kept" if full else ""
        print(f"fuse: {one_line(os.strerror(problem.errno) + place)}{advice}", file=sys.stderr)
        return 1 if full else 2
    except KeyboardInterrupt:
        print("\nfuse: interrupted; finished steps are kept, the next run continues", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
