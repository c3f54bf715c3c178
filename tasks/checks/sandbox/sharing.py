"""Shares classes that the tests define and the program may use, such as a list node or a point. Both processes define them;
instances are sent as their attributes."""

import ast
from typing import Any

from tasks.checks.sandbox.wire import Find, Keep, decode_value, encode_value

MODULES = ("candidate", "tests")  # the modules in which the two processes define them


def find_shared_classes(tests: ast.Module, theirs: set[str]) -> list[str]:
    """The tests' imports, then the sources of their classes that contain no assert and no name of the response. Such classes
    contain no answers."""
    wanted = [node for node in tests.body if isinstance(node, ast.ClassDef) and is_shared(node, theirs)]
    imports = [node for node in tests.body if isinstance(node, ast.Import | ast.ImportFrom)] if wanted else []
    return [ast.unparse(node) for node in (*imports, *wanted)]


def is_shared(node: ast.ClassDef, theirs: set[str]) -> bool:
    parts = list(ast.walk(node))
    if any(isinstance(part, ast.Assert) for part in parts) or node.name.startswith("Test"):
        return False
    return not any(isinstance(part, ast.Name) and part.id in theirs for part in parts)


def encode_instance(value: Any, classes: dict[str, Any], keep: Keep, depth: int) -> dict | None:
    kind = type(value)
    if kind.__module__ not in MODULES or classes.get(kind.__name__) is not kind or "__dict__" not in dir(kind):
        return None
    attributes = [[name, encode_value(one, keep, depth + 1)] for name, one in vars(value).items()]
    return {"instance": [kind.__name__, attributes]}


def decode_instance(content: list, classes: dict[str, Any], find: Find) -> Any:
    """Makes an instance without a call of the class's code. ValueError if an attribute would replace a method."""
    name, attributes = content
    kind = classes[name]
    if not isinstance(kind, type) or kind.__module__ not in MODULES:
        raise ValueError(f"no class: {name!r:.80}")
    made = object.__new__(kind)
    for key, value in attributes:
        if callable(getattr(kind, key, None)):
            raise ValueError(f"an attribute in place of a method: {key!r:.80}")
        vars(made)[key] = decode_value(value, find)
    return made
