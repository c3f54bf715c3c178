"""Runs inside the sandbox: runs the tests with `Remote` objects for the response's program, which is in another process.

Only plain values come back from the program, so it cannot send objects that equal everything. This process runs no code of
the response and writes the verdict, `{verdict, passed, total, reason}`.
"""

import ast
import builtins
import importlib
import json
import math
import os
import re
import select
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from tasks.checks.sandbox.assertions import Rewriter, Trace, find_names
from tasks.checks.sandbox.names import TOO_DEEP, find_unbound_names
from tasks.checks.sandbox.raising import Exceptions, find_reason_of_sandbox, is_list_of_names
from tasks.checks.sandbox.sharing import decode_instance, encode_instance, find_shared_classes
from tasks.checks.sandbox.wire import LONGEST, decode_value, encode_value


def play_examiner(order: dict, to: int, back: int) -> None:
    """Reads the job from standard input. `to` and `back` are the pipes to and from the candidate."""
    job = json.loads(os.fdopen(0, "rb").read())
    verdict_writer = os.dup(1)
    os.dup2(2, 1)  # /dev/null: a print in the tests must not mix with the verdict
    exam = Exam(verdict_writer, to, back, time.monotonic() + order["seconds"], job["seconds_per_call"])
    try:
        strangers = find_unbound_names(f"{job['setup']}\n{job['tests']}")
        modules = [name for name in strangers if name in sys.stdlib_module_names]
        tests = ast.parse(job["tests"])
        theirs = find_names_asked(job, tests, strangers, modules)
        shared = find_shared_classes(tests, set(theirs))
        rewriter = Rewriter(tests, set(theirs))
    except (SyntaxError, ValueError, *TOO_DEEP) as problem:
        exam.end("unchecked", f"the tests cannot be run: {problem}")
    exam.send({name: job[name] for name in ("setup", "text", "entry_point", "beginning")} | {"shared": shared})
    exam.wait_until_loaded()
    run_tests(exam, rewriter.tests, job, modules, theirs)
    skipped = rewriter.find_skipped(exam.trace)
    if exam.calls and not exam.total and "assert" in job["tests"]:
        exam.end("failed", "the response's values led past every assertion")
    if not exam.calls or not exam.total:
        exam.end("unchecked", "the tests assert nothing of the response")
    if exam.passed < exam.total:
        exam.end("failed", exam.problem)
    if skipped:
        exam.end("unchecked", f"the response led past {len(skipped)} assertions, the first in line {skipped[0].line}")
    exam.end("passed")


def find_names_asked(job: dict, tests: ast.Module, strangers: list[str], modules: list[str]) -> list[str]:
    """The names that the response must define: the entry point, or the only name that neither the tests nor their setup bind;
    and exceptions that the tests catch. Names of standard library modules are excluded: the tests forgot to import them."""
    handlers = (node.type for node in ast.walk(tests) if isinstance(node, ast.ExceptHandler) and node.type)
    caught = set().union(*map(find_names, handlers)) & set(strangers)
    unknown = [name for name in strangers if name not in modules and name not in caught]
    if entry := re.findall(r"^\w+", job["entry_point"]):
        return [*entry, *caught]
    if len(unknown) > 1:  # one of them may be a reference the tests compare with
        raise ValueError(
            f"they name {' and '.join(unknown)} but no entry point, so it is unknown which of them the response must define"
        )
    return [*(unknown or find_renamed_builtin(tests)), *caught]


def find_renamed_builtin(tests: ast.Module) -> list[str]:
    """Finds a response's function that is named like a built-in, such as `sum`: every assert compares a call of this name."""
    called = set()
    for node in ast.walk(tests):
        match node:
            case ast.Assert(ast.Compare(ast.Call(ast.Name(name)))):
                called.add(name)
            case ast.Assert():
                return []
    return list(called) if len(called) == 1 and called <= set(dir(builtins)) else []


def run_tests(exam: "Exam", tests: ast.Module, job: dict, modules: list[str], theirs: list[str]) -> None:
    entry, trace = job["entry_point"], exam.trace
    space: dict[str, Any] = {"__name__": "tests", "_held": exam.held, "_broke": exam.broke, "_alone": mark_unread}
    space |= {"_mark": trace.mark, "_watch": trace.watch, "_zip": exam.compare_lengths, "_caught": exam.find_caught}
    exam.space = space
    try:
        exec(compile(job["setup"], "setup", "exec"), space)
        space |= {name: importlib.import_module(name) for name in modules}
        space |= {name: Remote(exam, name) for name in theirs}
        exec(compile(tests, "tests", "exec"), space)
        check = space.get("check")
        if entry and check and not isinstance(check, Remote):  # a response may also define a function of this name
            check(Remote(exam, entry))
    except BaseException as problem:
        why = f"{type(problem).__name__}: {problem!s:.200}"
        exam.end(*(("error", why) if exam.calls else ("unchecked", f"the tests cannot be run: {why}")))


class Exam:
    """The connection to the candidate, and the counts of assertions."""

    def __init__(self, verdict_writer: int, to: int, back: int, deadline: float, seconds_per_call: float):
        self.verdict_writer, self.to, self.back, self.deadline = verdict_writer, to, back, deadline
        self.seconds_per_call = seconds_per_call or math.inf
        self.buffer = b""
        self.calls = self.passed = self.total = 0
        self.problem = ""
        self.trace = Trace()
        self.exceptions = Exceptions()
        self.space: dict[str, Any] = {}  # what the tests define

    def held(self, condition: Any) -> None:
        true = bool(condition)
        self.total += 1
        self.passed += true
        if not true:
            self.problem = self.problem or f"assertion {self.total} does not hold"

    def broke(self, problem: Exception) -> None:
        self.total += 1
        self.problem = self.problem or f"assertion {self.total}: {type(problem).__name__}: {problem!s:.200}"

    def compare_lengths(self, theirs: tuple[bool, ...], *given: Any, **named: Any) -> zip:
        """A `zip` that counts a failed assertion if the response's values are fewer than the tests' values. `theirs` tells
        which arguments come from the response."""
        sizes = [
            (len(one), is_theirs) for one, is_theirs in zip(given, theirs, strict=True) if isinstance(one, list | tuple)
        ]
        made, wanted = ([size for size, one in sizes if one is is_theirs] for is_theirs in (True, False))
        if made and wanted and min(made) < min(wanted):
            self.broke(ValueError(f"{min(made)} values where the tests have {min(wanted)}"))
        return zip(*given, strict=named.get("strict", False))

    def end(self, verdict: str, reason: str = "") -> NoReturn:
        """Writes the verdict and exits at once. It does not raise, because tests may catch any exception."""
        words = " ".join(reason[:300].encode(errors="replace").decode().split())  # one line of valid UTF-8
        found = {"verdict": verdict, "passed": self.passed, "total": self.total, "reason": words}
        os.write(self.verdict_writer, json.dumps(found).encode())
        os._exit(0)

    def wait_until_loaded(self) -> None:
        answer = self.receive()
        if answer.get("loaded") is not True:
            problem = self.make_exception(answer)
            self.end("error", f"{type(problem).__name__}: {problem}")

    def ask(self, request: dict, given: Sequence[Any] = ()) -> Any:
        self.calls += 1
        self.send({**request, "number": self.calls})
        answer = self.receive()
        if answer.get("number") != self.calls:
            self.end("error", "an answer without a request")
        if "raised" in answer:
            raise self.make_exception(answer)
        value, left = self.read(answer.get("value")), self.read(answer.get("left"))
        if given and value is None and left:
            put_back(given, left)
        return hand_over(value) if answer.get("awaited") else value

    def read(self, answer: Any) -> Any:
        try:
            return decode_value(answer, self.find)
        except (ValueError, TypeError, KeyError, RecursionError, ArithmeticError) as problem:
            return self.end("error", f"an answer that is not a plain value: {problem}")

    def make_exception(self, answer: dict) -> Exception:
        classes, arguments, message = (answer.get(name) for name in ("raised", "arguments", "message"))
        if not is_list_of_names(classes):
            self.end("error", "an answer that cannot be read")
        problem = self.exceptions.make(classes, self.read(arguments or []), str(message))
        if reason := find_reason_of_sandbox(problem):
            self.end("unchecked", reason)
        return problem

    def find_caught(self, kinds: Any) -> Any:
        """The classes that an `except` of the tests catches. A class of the response is replaced by its local stand-in."""
        if isinstance(kinds, tuple):
            return tuple(map(self.find_caught, kinds))
        return self.exceptions.find(str(kinds._of)) if isinstance(kinds, Remote) else kinds

    def keep(self, value: Any, depth: int) -> dict:
        if isinstance(value, Remote):
            return {"object": value._of}
        if instance := encode_instance(value, self.space, self.keep, depth):
            return instance
        return self.end("unchecked", f"a test gives the response a {type(value).__name__}, which is not a plain value")

    def find(self, kind: str, content: Any) -> Any:
        if kind == "instance":
            return decode_instance(content, self.space, self.find)
        if kind == "object":
            return Remote(self, int(content))
        raise ValueError(f"no such kind of value: {kind!r:.80}")

    def send(self, message: dict) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self.to, line) :]
        except BrokenPipeError:
            self.end("error", "the program ended before its tests did")

    def receive(self) -> dict:
        deadline = min(self.deadline, time.monotonic() + self.seconds_per_call)
        while b"\n" not in self.buffer:
            if not select.select([self.back], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self.end("timeout", "not done in time")
            read = os.read(self.back, 1 << 16)
            if not read:
                self.end("error", "the program ended before its tests did")
            self.buffer += read
            if len(self.buffer) > LONGEST:
                self.end("error", "an answer that is too long")
        line, _, self.buffer = self.buffer.partition(b"\n")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            self.end("error", "an answer that cannot be read")
        return answer


class Remote:
    """Stands for an object of the response's program, and forwards calls and attributes to it. Comparison is refused: the
    object could claim to equal everything."""

    def __init__(self, exam: Exam, of: str | int):
        self._exam, self._of = exam, of

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._ask({}, arguments, named)

    def _in_place(self, *arguments: Any, **named: Any) -> Any:
        return self._ask({}, arguments, named, [*arguments, *named.values()])

    def _ask(self, request: dict, arguments: tuple = (), named: dict | None = None, given: Sequence[Any] = ()) -> Any:
        sent = encode_value((arguments, named or {}), self._exam.keep)["tuple"]
        return self._exam.ask({"of": self._of, "arguments": sent, **request}, given)

    def __getattr__(self, name: str) -> Any:
        return self._exam.ask({"of": self._of, "attribute": name})

    def __bool__(self) -> bool:
        return self._ask({"question": "bool"}) is True

    def __len__(self) -> int:
        return self._ask({"question": "len"})

    def __iter__(self) -> Iterator:
        return iter(self._ask({"question": "list"}))

    def __contains__(self, value: Any) -> bool:
        return value in list(self)

    def __str__(self) -> str:
        return self._ask({"question": "str"})

    def __repr__(self) -> str:
        return self._ask({"question": "repr"})

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and self._ask({"question": "type"}, (value,)) is True

    def __getitem__(self, key: Any) -> Any:
        return Remote.__getattr__(self, "__getitem__")(key)


def mark_unread(called: Any) -> Any:
    """Lets a call change its arguments in place. Only for calls whose result is unused or compared with None. Other calls must
    not change them: tests may compute the expected value from the arguments, and would compare the response with itself."""
    return called._in_place if isinstance(called, Remote) else called


def put_back(given: Sequence[Any], left: Any) -> None:
    """Copies the changed arguments of a call that returned None into the tests' objects: they are the call's result."""
    positional, named = left
    for mine, theirs in zip(given, [*positional, *named.values()], strict=True):
        match mine:
            case list() if isinstance(theirs, list):
                mine[:] = theirs
            case dict() | set() if type(theirs) is type(mine):
                mine.clear()
                mine.update(theirs)
            case _ if type(theirs) is type(mine) and type(mine).__module__ == "tests":
                vars(mine).update(vars(theirs))


def refuse_comparison(self: Remote, other: Any = None) -> NoReturn:
    if isinstance(other, Remote):
        self._exam.end("unchecked", "the tests compare two objects of the response, which only it could do")
    raise TypeError("the response returned one of its objects where the tests need a plain value")


for _name in ("eq", "ne", "lt", "le", "gt", "ge", "hash"):
    setattr(Remote, f"__{_name}__", refuse_comparison)


async def hand_over(value: Any) -> Any:
    """Wraps the result of an async function of the response, so that tests can await it."""
    return value
