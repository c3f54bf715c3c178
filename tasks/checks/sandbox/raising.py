"""Sends exceptions from the response's process to the tests, as class names, arguments and message, never as objects."""

import builtins
import sys
from typing import Any, TypeGuard, cast

from tasks.checks.sandbox.wire import Keep, encode_value

MOST_CLASSES = 20
NEVER = (
    StopIteration,
    StopAsyncIteration,
)  # they end iterations: `all(map(…))` over answers would end early and be true


def describe_exception(problem: BaseException, keep: Keep) -> dict:
    """The exception as JSON: its classes as [module, name], the most specific first, its arguments and message."""
    classes = [[kind.__module__, kind.__name__] for kind in type(problem).__mro__[:MOST_CLASSES]]
    try:
        arguments = encode_value(list(problem.args), keep)
    except Exception:  # the program controls the arguments: reading them may raise anything
        arguments = []
    return {"raised": classes, "arguments": arguments, "message": f"{problem!s:.200}"}


class Exceptions:
    """Local stand-ins for the response's exception classes, by name, so that a test can catch `except Theirs`."""

    def __init__(self):
        self.theirs: dict[str, type[Exception]] = {}

    def make(self, classes: list, arguments: list, message: str) -> Exception:
        names = [(str(module), str(name)) for module, name in classes[:MOST_CLASSES]]
        bases = [kind for kind in map(find_class, names) if kind]
        base = bases[0] if bases else RuntimeError  # also for classes outside Exception, such as SystemExit
        if issubclass(base, NEVER):
            base, message = RuntimeError, f"{names[0][1]}: {message}"
        for module, name in reversed(names):
            if not find_class((module, name)) and module == "candidate":
                base = self.theirs[name] = cast("type[Exception]", type(name, (base,), {}))
        kind = type(base.__name__, (base,), {"__str__": lambda _: message, "__init__": lambda *_: None})
        problem = kind.__new__(kind)
        problem.args = tuple(arguments)
        return problem

    def find(self, name: str) -> type[Exception]:
        """The stand-in for the response's class of this name; a new, unused class if the response never raised it."""
        return self.theirs.get(name) or type(name, (Exception,), {})


def find_class(name: tuple[str, str]) -> type[Exception] | None:
    """A standard exception class that is already loaded here. No module is imported because the response names it."""
    module, kind = name
    place = builtins if module == "builtins" else sys.modules.get(module)
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return None
    found = vars(place).get(kind) if place else None
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def is_list_of_names(classes: Any) -> TypeGuard[list[list[str]]]:
    """True for a list of [module, name] pairs that is not empty."""
    pair = lambda one: isinstance(one, list) and len(one) == 2 and all(isinstance(name, str) for name in one)
    return isinstance(classes, list) and bool(classes) and all(map(pair, classes))


def find_reason_of_sandbox(problem: Exception) -> str:
    """The reason if the sandbox caused the exception: a missing package or right. Empty if the program caused it."""
    match problem:
        case ModuleNotFoundError() if package := str(problem).partition("'")[2].partition("'")[0].partition(".")[0]:
            return "" if package in sys.stdlib_module_names else f"checks.packages: the response imports {package!r}"
        case PermissionError():
            return f"the sandbox does not allow what the program does: {problem}"
        case FileNotFoundError() if "temporary directory" in str(problem) or "'/tmp" in str(problem):
            return "the sandbox has no folder for temporary files"
        case RuntimeError() if "can't start new thread" in str(problem):
            return "the sandbox does not allow threads"
    return ""
