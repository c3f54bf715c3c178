"""Runs inside the sandbox: runs a response's program once as a script, with a test case as its standard input."""

import builtins
import json
import os
import sys
import threading
import types

from tasks.checks.sandbox.extraction import extract_continuation, extract_script
from tasks.checks.sandbox.raising import describe_exception

LONGEST_REPORT = 1 << 14


def play_script(order: dict, program: int, reports: int) -> None:
    """Reads {text, setup, beginning} from `program`. Standard input is the case; standard output is compared later. An exception
    of the script is written to `reports`."""
    builtins.exit = builtins.quit = sys.exit  # missing because the interpreter starts without `site`
    threading.Thread.start = threading.Thread.run  # scripts use a thread for its larger stack; the sandbox has none
    threading.Thread.join = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]
    sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    sys.argv = ["script"]
    try:
        given = json.loads(os.fdopen(program, "rb").read())
        text, beginning = given["text"], given["beginning"]
        code = extract_continuation(text, beginning) if beginning else extract_script(text, given["setup"])
        exec(compile(given["setup"], "setup", "exec"), module.__dict__)
        exec(compile(code, "response", "exec"), module.__dict__)
    except SystemExit:
        pass  # with any exit code: only the output is compared
    except BaseException as problem:  # a program may raise anything
        report = describe_exception(problem, lambda *_: {}) | {"arguments": []}
        os.write(reports, json.dumps(report).encode()[:LONGEST_REPORT])
    sys.stdout.flush()
