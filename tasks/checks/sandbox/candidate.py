"""Runs inside the sandbox: finds the program in a response, runs it, and answers calls with values.

It never learns which values the tests expect. Nothing that this process says is believed: the program may change anything
in it. Finding the program parses text that a model wrote, so that happens here too.
"""

import json
import os
import sys
import types

from tasks.checks.extraction import extract_program
from tasks.checks.sandbox.wire import LONGEST, decode, encode


def play(order: dict) -> None:
    """Requests come on standard input, answers leave by standard output; the program sees neither."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    os.dup2(2, 0)  # which is /dev/null
    os.dup2(2, 1)
    asked = json.loads(requests.readline())
    sys.modules["candidate"] = module = types.ModuleType("candidate")  # dataclasses and pickle look classes up in it
    space = module.__dict__
    say(answers, {"loaded": load_program(asked["setup"], asked["text"], asked["entry_point"], space)})
    objects: list = []
    for line in requests:
        say(answers, answer(json.loads(line), space, objects))


def load_program(setup: str, text: str, entry_point: str, space: dict) -> str:
    """Finds the program in the text and runs it in `space`. Returns nothing, or why it does not run."""
    try:
        code = extract_program(text, entry_point)
        exec(compile(setup, "setup", "exec"), space)
        exec(compile(code, "response", "exec"), space)
    except BaseException as problem:  # a program may raise anything, SystemExit too
        return describe(problem)
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


def describe(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem!s:.200}"


def say(descriptor: int, value: dict) -> None:
    line = json.dumps(value).encode() + b"\n"
    if len(line) > LONGEST:
        line = (
            json.dumps({"number": value.get("number"), "raised": "ValueError", "message": "too long"}).encode() + b"\n"
        )
    while line:
        line = line[os.write(descriptor, line) :]
