"""Runs inside the sandbox: extracts the program from a response, runs it, and answers calls with values.

It never receives the expected values. Its answers are not trusted, because the program can change anything in this process.
The program is extracted here because parsing a model's text is unsafe outside the sandbox.
"""

import asyncio
import builtins
import inspect
import json
import os
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from tasks.checks.sandbox.extraction import extract_continuation, extract_program
from tasks.checks.sandbox.raising import describe_exception
from tasks.checks.sandbox.sharing import decode_instance, encode_instance
from tasks.checks.sandbox.wire import LONGEST, decode_value, encode_value

QUESTIONS: dict[str, Callable] = {"bool": bool, "len": len, "list": list, "str": str, "repr": repr, "type": isinstance}


def play_candidate(order: dict) -> None:
    """Reads requests from standard input and writes answers to standard output. The program can use neither."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    os.dup2(2, 0)  # descriptor 2 is /dev/null
    os.dup2(2, 1)
    asked = json.loads(requests.readline())
    builtins.exit = builtins.quit = sys.exit  # missing because the interpreter starts without `site`
    program = Program()
    write_value(answers, program.load(asked))
    for line in requests:
        write_value(answers, program.answer(json.loads(line)))


class Program:
    """A response's program: its names, the classes it shares with the tests, and the objects the tests hold references to."""

    def __init__(self):
        sys.modules["candidate"] = module = types.ModuleType(
            "candidate"
        )  # dataclasses and pickle look up classes in this module
        self.space = module.__dict__
        self.shared: dict[str, Any] = {}
        self.objects: list = []

    def load(self, asked: dict) -> dict:
        """Extracts the program and runs it. Returns {loaded: True}, or the exception that it raised."""
        try:
            entry_point = asked["entry_point"]
            code = extract_code(asked)
            exec(compile(asked["setup"], "setup", "exec"), self.space)
            for source in asked["shared"]:
                with suppress(Exception):  # a class may need names from the tests, which this process does not get
                    exec(compile(source, "shared", "exec"), self.space)
            self.shared = dict(self.space)
            exec(compile(code, "response", "exec"), self.space)
            self.lift_method(entry_point)
        except BaseException as problem:  # a program may raise anything, including SystemExit
            return describe_exception(problem, self.keep)
        return {"loaded": True}

    def lift_method(self, name: str) -> None:
        """Defines the tests' function name if the program lacks it or only imports it, since a prompt may not state the name.
        Uses a function or a method of class Solution with a similar name (two_sum, twoSum), or the only one."""
        defined = self.space.get(name)
        imported = defined is self.shared.get(name) and getattr(defined, "__module__", "") != "candidate"
        if not name.isidentifier() or (name in self.space and not imported):
            return
        functions = {
            key: one for key, one in self.space.items() if inspect.isfunction(one) and one.__module__ == "candidate"
        }
        methods = self.find_methods()
        spell = lambda key: key.replace("_", "").lower()
        similar = [one for key, one in (*functions.items(), *methods.items()) if spell(key) == spell(name)]
        single = [one for found in (methods, functions) if len(found) == 1 for one in found.values()]
        if similar or single:
            self.space[name] = (similar or single)[0]

    def find_methods(self) -> dict[str, Callable]:
        """The public methods of the program's class Solution; each call makes a new instance."""
        solution = cast(Any, self.space.get("Solution"))
        names = [name for name in dir(solution) if name[0] != "_"] if isinstance(solution, type) else []
        return {key: lambda *given, key=key, **named: getattr(solution(), key)(*given, **named) for key in names}

    def answer(self, request: dict) -> dict:
        number = {"number": request["number"]}
        try:
            return number | self.find_answer(request)
        except BaseException as problem:  # the program may raise anything
            return number | describe_exception(problem, self.keep)

    def find_answer(self, request: dict) -> dict:
        of = request["of"]
        owner = self.objects[of] if isinstance(of, int) else eval(of, self.space)
        if "attribute" in request:
            return {"value": encode_value(getattr(owner, request["attribute"]), self.keep)}
        positional, named = decode_value(request["arguments"], self.find)
        if "question" in request:
            return {"value": encode_value(QUESTIONS[request["question"]](*positional, owner), self.keep)}
        value = owner(*positional, **named)
        if inspect.iscoroutine(value):
            return {"value": encode_value(asyncio.run(value), self.keep), "awaited": True}
        left = {} if value is not None else {"left": encode_value((positional, named), self.keep)}
        return {"value": encode_value(value, self.keep), **left}

    def keep(self, value: Any, depth: int) -> dict:
        if instance := encode_instance(value, self.shared, self.keep, depth):
            return instance
        self.objects.append(value)
        return {"object": len(self.objects) - 1}

    def find(self, kind: str, content: Any) -> Any:
        if kind == "instance":
            return decode_instance(content, self.shared, self.find)
        return self.space[content] if isinstance(content, str) else self.objects[content]


def extract_code(asked: dict) -> str:
    if asked["beginning"]:
        return extract_continuation(asked["text"], asked["beginning"])
    return extract_program(asked["text"], asked["entry_point"], asked["setup"])


def write_value(descriptor: int, value: dict) -> None:
    line = json.dumps(value).encode() + b"\n"
    if len(line) > LONGEST:
        too_long = {"raised": [["builtins", "ValueError"]], "arguments": [], "message": "too long"}
        line = json.dumps({"number": value.get("number"), **too_long}).encode() + b"\n"
    while line:
        line = line[os.write(descriptor, line) :]
