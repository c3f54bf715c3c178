"""Static analysis of a program: it parses, and every name that it uses is bound somewhere."""

import builtins
import importlib
import re
import symtable
from collections.abc import Iterator

ALWAYS = {
    *dir(builtins),
    "__name__",
    "__file__",
    "__doc__",
    "__builtins__",
    "__annotations__",
    "__module__",
    "__qualname__",
}
EVERYTHING = re.compile(r"^\s*from\s+([\w.]+)\s+import\s+\*", re.MULTILINE)


def unresolved(code: str) -> list[str]:
    """The global names that are used and never bound; SyntaxError where the program does not parse."""
    top = symtable.symtable(code, "response", "exec")
    bound, asked = set(ALWAYS), set()
    for table in tables(top):
        for symbol in table.get_symbols():
            of_module = table is top or symbol.is_declared_global()
            if of_module and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                bound.add(symbol.get_name())
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                asked.add(symbol.get_name())
    for module in EVERYTHING.findall(code):
        bound.update(dir(importlib.import_module(module)))
    return sorted(asked - bound)


def tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from tables(child)
