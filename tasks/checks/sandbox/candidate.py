"""The part of a response's program: runs it, then answers calls with values. It never learns what is expected of it.

Nothing that is said here is believed: the program may change anything in this process.
"""

import json
import os
import sys
import types

from tasks.checks.names import unresolved
from tasks.checks.sandbox.wire import LONGEST, decode, encode


def play(order: dict) -> None:
    """Requests come on standard input, answers leave by standard output; the program sees neither."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    os.dup2(2, 0)  # which is /dev/null
    os.dup2(2, 1)
    program = json.loads(requests.readline())
    sys.modules["candidate"] = module = types.ModuleType(
        "candidate"
    )  # where dataclasses and pickle look their class up
    space = module.__dict__
    say(answers, {"loaded": loaded(program["setup"], program["code"], space)})
    objects: list = []
    for line in requests:
        say(answers, answer(json.loads(line), space, objects))


def loaded(setup: str, code: str, space: dict) -> str:
    """Nothing, or why the program does not run. It is looked at first, and run only if its names resolve."""
    try:
        if unknown := unresolved(f"{setup}\n{code}"):
            return f"undefined name {unknown[0]!r}"
        exec(compile(setup, "setup", "exec"), space)
        exec(compile(code, "response", "exec"), space)
    except BaseException as problem:
        return named(problem)
    return ""


def answer(request: dict, space: dict, objects: list) -> dict:
    try:
        find = objects.__getitem__
        owner = find(request["of"]) if isinstance(request["of"], int) else eval(request["of"], space)
        if "attribute" in request:
            value = getattr(owner, request["attribute"])
        else:
            given = decode(request["arguments"], find)
            value = owner(*given[0], **given[1])
        keep = lambda one: objects.append(one) or len(objects) - 1
        left = {} if value is not None or "attribute" in request else {"left": encode(given, keep)}
        return {"number": request["number"], "value": encode(value, keep), **left}
    except BaseException as problem:
        return {"number": request["number"], "raised": type(problem).__name__, "message": f"{problem!s:.200}"}


def named(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem!s:.200}"


def say(descriptor: int, value: dict) -> None:
    line = json.dumps(value).encode() + b"\n"
    if len(line) > LONGEST:
        line = (
            json.dumps({"number": value.get("number"), "raised": "ValueError", "message": "too long"}).encode() + b"\n"
        )
    while line:
        line = line[os.write(descriptor, line) :]
