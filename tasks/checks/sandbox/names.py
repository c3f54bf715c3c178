"""Finds names that a program uses but does not define. Runs inside the sandbox only, because it may import modules."""

import ast
import builtins
import importlib
import symtable
import sys
from collections.abc import Iterator

ALWAYS = {
    *dir(builtins),
    "exit",
    "quit",
    "__name__",
    "__file__",
    "__doc__",
    "__builtins__",
    "__annotations__",
    "__module__",
    "__qualname__",
}
TOO_DEEP = (RecursionError, MemoryError)  # raised by Python's parser for deeply nested code


def find_unbound_names(code: str) -> list[str]:
    """The global names that are used but never bound; none if a star import of an unknown module may bind them. SyntaxError,
    ValueError or one of TOO_DEEP if the code cannot be parsed."""
    top = symtable.symtable(code, "response", "exec")
    bound, asked = set(ALWAYS), set()
    for table in walk_tables(top):
        for symbol in table.get_symbols():
            of_module = table is top or symbol.is_declared_global()
            if of_module and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                bound.add(symbol.get_name())
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                asked.add(symbol.get_name())
    for module in find_star_imports(code):
        if (names := list_exports(module)) is None:
            return []
        bound.update(names)
    return sorted(asked - bound)


def walk_tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from walk_tables(child)


def find_star_imports(code: str) -> list[str]:
    """The modules of `from … import *`; the name of a relative module begins with dots."""
    if "*" not in code:
        return []
    found = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom))
    return ["." * node.level + (node.module or "") for node in found if node.names[0].name == "*"]


def list_exports(module: str) -> list[str] | None:
    """The names in a module of the standard library; None for other modules, or if the import fails."""
    if module.partition(".")[0] not in sys.stdlib_module_names or "__main__" in module:
        return None
    try:
        return dir(importlib.import_module(module))
    except (Exception, SystemExit):  # some modules run code on import and may raise or exit
        return None
