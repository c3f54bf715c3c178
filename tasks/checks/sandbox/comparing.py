"""Runs inside the sandbox: compares a script's output with the expected output, by the rules of the data set's authors."""

import json
import math
import os
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from tasks.checks.sandbox.raising import Exceptions, find_reason_of_sandbox, is_list_of_names


def play_comparing(order: dict) -> None:
    """Reads {rule, expected, written, problem} from standard input and writes a verdict to standard output."""
    job = json.loads(os.fdopen(0, "rb").read())
    same = RULES[job["rule"]]
    held = [same(one, other) for one, other in zip(job["written"], job["expected"], strict=False)]
    passed, total = sum(held), len(job["expected"])
    reason = f"case {held.index(False) + 1} has another output" if False in held else ""
    verdict = "passed" if passed == total else "failed"
    if job["problem"]:
        verdict, reason = explain(job["problem"], reason)
    words = " ".join(reason[:300].encode(errors="replace").decode().split())
    os.write(1, json.dumps({"verdict": verdict, "passed": passed, "total": total, "reason": words}).encode())


def explain(problem: str, reason: str) -> tuple[str, str]:
    """Verdict and reason for a script that reports an exception. A false report can only worsen the verdict or make it
    "unchecked"."""
    try:
        report = json.loads(problem)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or not is_list_of_names(report.get("raised")):
        return "failed", reason or "its report of an exception cannot be read"
    raised = Exceptions().make(report["raised"], [], str(report.get("message")))
    if unable := find_reason_of_sandbox(raised):
        return "unchecked", unable
    return "error", f"{type(raised).__name__}: {raised}"


def have_same_lines(written: str, expected: str) -> bool:
    """LiveCodeBench: the same number of lines; each line has equal text, or equal numbers without tolerance."""
    written_lines, expected_lines = (
        [line.strip() for line in text.strip().split("\n")] for text in (written, expected)
    )
    return len(written_lines) == len(expected_lines) and all(map(have_same_numbers, written_lines, expected_lines))


def have_same_numbers(written: str, expected: str) -> bool:
    if written == expected:
        return True
    try:
        numbers = [[Decimal(token) for token in line.split()] for line in (written, expected)]
    except InvalidOperation:
        return False
    return numbers[0] == numbers[1]


def have_same_tokens(written: str, expected: str) -> bool:
    """CodeContests: the same number of words; each is equal in lower case, or a number that differs by less than 0.00001."""
    return compare_tokens(written.lower(), expected.lower(), lambda one, other: abs(one - other) < 1e-5)


def are_close(written: str, expected: str) -> bool:
    """APPS: the same number of words; each is equal, or a number within the tolerance of numpy's `allclose`. APPS also compares
    sets of lines; that rule is omitted because it accepts lines in any order."""
    close = lambda one, other: math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-8)
    return compare_tokens(written, expected, close)


def compare_tokens(written: str, expected: str, close: Callable[[float, float], bool]) -> bool:
    words, wanted = written.split(), expected.split()
    return len(words) == len(wanted) and all(
        a == b or are_numbers(a, b, close) for a, b in zip(words, wanted, strict=True)
    )


def are_numbers(one: str, other: str, close: Callable[[float, float], bool]) -> bool:
    try:
        return close(float(one), float(other))
    except ValueError:
        return False


RULES: dict[str, Callable[[str, str], bool]] = {
    "lines": have_same_lines,
    "tokens": have_same_tokens,
    "close": are_close,
}
