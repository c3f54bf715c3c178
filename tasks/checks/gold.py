"""Reads the gold of a prompt: tests, cases, or a right answer.

Tests are `{"tests": …, "entry_point": …, "setup": …, "solution": …}`, the last three optional (see `verdicts.ProgramTests`), a
list of asserts, or Python with an assert in it. Cases have inputs and outputs, in the layouts that `cases.py` reads.
Any other gold is a right answer.
"""

import ast
import json
import zlib

from tasks.checks.cases import Cases, read_cases
from tasks.checks.verdicts import ProgramTests


def find_suite(gold: str) -> ProgramTests | Cases | None:
    """Returns tests or cases, or None if the gold is a right answer. ValueError if the gold looks like tests but is invalid."""
    found = parse_json(gold)
    try:
        cases = read_cases(found)
    except (KeyError, TypeError, AttributeError, zlib.error) as problem:
        raise ValueError(f"gold: cases that cannot be read: {problem!r:.200}") from problem
    if cases:
        return cases
    if isinstance(found, list) and found and all(isinstance(one, str) and has_asserts(one) for one in found):
        return ProgramTests("\n".join(found))
    if isinstance(found, list) and any(isinstance(one, str) and has_asserts(one) for one in found):
        raise ValueError("gold: a list in which some entries are asserts and others are not")
    if isinstance(found, dict):
        return of_fields(found)
    if has_asserts(gold):
        return ProgramTests(gold)
    if defines_check(gold):
        raise ValueError("gold: a program without an assert")
    return None


def of_fields(fields: dict) -> ProgramTests:
    if "tests" not in fields:
        raise ValueError(f"gold: an object without tests (it has {', '.join(sorted(fields))})")
    if unknown := fields.keys() - {"tests", "entry_point", "setup", "solution"}:
        raise ValueError(f"gold: tests have no field {min(unknown)!r}")
    lines = fields["tests"]
    whole = {**fields, "tests": "\n".join(lines) if isinstance(lines, list) else lines}
    if wrong := [name for name, value in whole.items() if not isinstance(value, str)]:
        raise ValueError(f"gold.{wrong[0]}: is not text")
    return ProgramTests(**whole)


def parse_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def has_asserts(text: str) -> bool:
    try:
        return any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: nested too deep
        return False


def defines_check(text: str) -> bool:
    try:
        return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.parse(text).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
