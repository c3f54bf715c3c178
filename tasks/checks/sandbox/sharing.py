"""Classes that the tests define and their program may use: a node of a list, a point. Both processes define them, and their
instances cross by their attributes."""

import ast
from typing import Any

from tasks.checks.sandbox.wire import Find, Keep, decode, encode

MODULES = ("candidate", "tests")  # where the two processes define them


def find_shared_classes(tests: ast.Module, theirs: set[str]) -> list[str]:
    """The sources of the tests' classes that name nothing of the response's and assert nothing: they hold no answers. Before
    them what the tests import."""
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
    attributes = [[name, encode(one, keep, depth + 1)] for name, one in vars(value).items()]
    return {"instance": [kind.__name__, attributes]}


def decode_instance(content: list, classes: dict[str, Any], find: Find) -> Any:
    """Without a call of anything of the class. Its methods stay its own: an attribute cannot stand in their place."""
    name, attributes = content
    kind = classes[name]
    if not isinstance(kind, type) or kind.__module__ not in MODULES:
        raise ValueError(f"no class: {name!r:.80}")
    made = object.__new__(kind)
    for key, value in attributes:
        if callable(getattr(kind, key, None)):
            raise ValueError(f"an attribute in place of a method: {key!r:.80}")
        vars(made)[key] = decode(value, find)
    return made
