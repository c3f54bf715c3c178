"""Compares formulas, sets, intervals and matrices. math-verify parses them, and compares objects without a numeric value.

This module compares numeric values: math-verify rounds to a fixed number of decimals, so all very small numbers would be equal.
"""

import re
from collections.abc import Callable

from math_verify import parse, verify
from sympy import Eq, Expr, FiniteSet, Float, Interval, MatrixBase, Rational, Tuple

from tasks.checks.formulas import compare_formulas
from tasks.checks.quantities import read_quantity

LONGEST = 2000  # characters that math-verify searches, at the end of a text without a marked answer
SPACES = re.compile(r"(\s)\s+")  # math-verify is slow on long white space
MEMBER_OF = re.compile(r"^\$?\s*[A-Za-z]\s*\\in(?![a-z])\s*(?=[\[({\\])")
PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{4,}\s+[A-Za-z]{2,}")
NAMES = re.compile(  # variables: one letter, or adjacent letters as factors; not ℝ
    r"(?<![\\A-Za-z])(?<!\\mathbb\{)(?<!\\mathbb )[A-Za-z]{1,3}(?![A-Za-z])"
)


def is_same_expression(answer: str, right: str) -> bool:
    if PROSE.search(answer):
        return False  # math-verify would take its letters for variables
    answer, right = separate_cases(MEMBER_OF.sub("", answer.strip()), MEMBER_OF.sub("", right.strip()))
    return is_any_same(parse_answer(right), lambda: parse_answer(answer))


def holds_expression(text: str, right: str) -> bool:
    """True if the last value that math-verify finds in the text is the right one."""
    text, right = separate_cases(SPACES.sub(r"\1", text[-LONGEST:]), MEMBER_OF.sub("", right.strip()))
    return is_any_same(parse_answer(right), lambda: parse(text, parsing_timeout=None))  # pyright: ignore[reportArgumentType]


def is_any_same(values: list, find_answers: Callable[[], list]) -> bool:
    try:
        return any(is_same_object(one, value) for one in (find_answers() if values else []) for value in values)
    except Exception:  # sympy raises many kinds of errors on odd formulas; math-verify also treats them as unequal
        return False


def parse_answer(text: str) -> list:
    quantity = read_quantity(text)
    if quantity and quantity.unit != "%":
        return [Float(Rational(quantity.value), 30) if "." in text or "e" in text else Rational(quantity.value)]
    return parse(rf"\boxed{{{text}}}", parsing_timeout=None)  # pyright: ignore[reportArgumentType]


def is_same_object(answer, right) -> bool:
    match answer, right:
        case (Interval(), Interval()):
            return (answer.left_open, answer.right_open) == (right.left_open, right.right_open) and all(
                map(is_same_object, (answer.start, answer.end), (right.start, right.end))
            )
        case (Tuple(), Tuple()):
            return len(answer) == len(right) and all(map(is_same_object, answer, right))
        case (FiniteSet(), FiniteSet()):
            return is_same_set(list(answer.args), list(right.args))
        case (MatrixBase(), MatrixBase()):
            return answer.shape == right.shape and all(map(is_same_object, answer, right))  # pyright: ignore[reportArgumentType]
        case (Expr(), Expr()) if (same := compare_formulas(answer, right)) is not None:
            return same
        case (Eq(), Eq()) if answer.lhs == right.lhs and answer.lhs.is_Symbol:
            return is_same_object(answer.rhs, right.rhs)
    return verify(right, answer, allow_set_relation_comp=True, timeout_seconds=None)


def is_same_set(answers: list, right: list) -> bool:
    for value in right:
        match = next((one for one in answers if is_same_object(one, value)), None)
        if match is None:
            return False
        answers.remove(match)
    return not answers


def separate_cases(*texts: str) -> list[str]:
    """Renames a capital letter if the same small letter also occurs: math-verify reads X as x, so R - r would be 0.

    The new letter is unused in both texts. Letters of units are avoided, because math-verify drops units.
    """
    found = [[set(name) for name in NAMES.findall(text)] for text in texts]
    alone = [set().union(*(name for name in names if len(name) == 1 or find_both_cases(name))) for names in found]
    both = set().union(*map(find_both_cases, alone))
    taken = [{letter.lower() for letter in set().union(*some)} for some in (alone, *found)]
    free = sorted(set("abfjknpqruvwxyz") - taken[0], key=lambda one: (any(one in some for some in taken), one))
    other = str.maketrans(dict(zip(sorted(both), free, strict=False)))
    return [NAMES.sub(lambda name: name[0].translate(other), text) for text in texts]


def find_both_cases(letters: set[str]) -> set[str]:
    return {letter for letter in letters if letter.isupper() and letter.lower() in letters}
