"""Runs inside the sandbox: the program in a response as a script, once, with a case as its standard input."""

import builtins
import json
import os
import sys
import threading
import types

from tasks.checks.sandbox.extraction import extract_script
from tasks.checks.sandbox.raising import describe_exception

MOST_SAID = 1 << 14


def play_script(order: dict, text: int, says: int) -> None:
    """Standard input is the case, standard output is what is compared; why the script did not end well goes to `says`."""
    builtins.exit = builtins.quit = sys.exit  # which Python has where it is started as usual
    threading.Thread.start = threading.Thread.run  # scripts take a thread for its larger stack; none is allowed here
    threading.Thread.join = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]
    sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    sys.argv = ["script"]
    try:
        code = extract_script(os.fdopen(text, "rb").read().decode())
        exec(compile(code, "response", "exec"), module.__dict__)
    except SystemExit:
        pass  # with any code: what it has written is compared
    except BaseException as problem:  # a program may raise anything
        told = describe_exception(problem, lambda *_: {}) | {"arguments": []}
        os.write(says, json.dumps(told).encode()[:MOST_SAID])
    sys.stdout.flush()
