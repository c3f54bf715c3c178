"""Formulas compared by what they are worth, with math-verify; numbers by their value, relative to their size.

math-verify rounds to a fixed number of decimals, so it would take all very small numbers for equal.
"""

import re

from math_verify import parse, verify
from sympy import Abs, Expr, FiniteSet, Float, Interval, Rational, Tuple, UnevaluatedExpr

from tasks.checks.quantities import read_quantity

ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, FLOAT_NOISE, EXACT = 1e-6, 1.1e-5, 1e-13, 1e-20
LONGEST = 2000  # characters of a text without a marked answer: math-verify looks for the answer at its end
MEMBER_OF = re.compile(r"^\s*\$?\s*[A-Za-z]\s*\\in(?![a-z])\s*(?=[\[({\\])")
NAMES = re.compile(  # letters of mathematics: alone, or side by side as factors; not ℝ
    r"(?<![\\A-Za-z])(?<!\\mathbb\{)(?<!\\mathbb )[A-Za-z]{1,3}(?![A-Za-z])"
)


def is_same_expression(answer: str, right: str, boxed: bool = True) -> bool:
    """Without `boxed` the answer is a text in which math-verify has to find the value."""
    answer, right = separate_cases(MEMBER_OF.sub("", answer), MEMBER_OF.sub("", right))
    values = parse_answer(right)
    found = (parse_answer(answer) if boxed else parse(answer[-LONGEST:], parsing_timeout=None)) if values else []
    return any(is_same_object(one, value) for value in values for one in found)


def parse_answer(text: str) -> list:
    quantity = read_quantity(text)
    if quantity and quantity.unit != "%":
        return [Float(Rational(quantity.value), 30) if "." in text or "e" in text else Rational(quantity.value)]
    return parse(rf"\boxed{{{text}}}", parsing_timeout=None)


def is_same_object(answer, right) -> bool:
    if isinstance(answer, Expr) and isinstance(right, Expr) and answer.is_number and right.is_number:
        return is_same_number(answer, right)
    if isinstance(answer, Interval) and isinstance(right, Interval):
        return (answer.left_open, answer.right_open) == (right.left_open, right.right_open) and all(
            is_same_object(*ends) for ends in [(answer.start, right.start), (answer.end, right.end)]
        )
    if isinstance(answer, Tuple) and isinstance(right, Tuple):
        return len(answer) == len(right) and all(map(is_same_object, answer, right))
    if isinstance(answer, FiniteSet) and isinstance(right, FiniteSet):
        return is_same_set(list(answer.args), list(right.args))
    return verify(right, answer, allow_set_relation_comp=True, timeout_seconds=None)


def is_same_set(answers: list, right: list) -> bool:
    for value in right:
        match = next((one for one in answers if is_same_object(one, value)), None)
        if match is None:
            return False
        answers.remove(match)
    return not answers


def is_same_number(answer: Expr, right: Expr) -> bool:
    """Exact numbers agree in 20 digits; a number with a decimal point may be rounded, relative to its size."""
    value, expected = answer.evalf(30), right.evalf(30)
    difference, size = Abs(value - expected).evalf(30), Abs(expected).evalf(30)
    if answer.has(UnevaluatedExpr) or right.has(UnevaluatedExpr) or not (difference.is_finite and size.is_finite):
        return answer == right or verify(right, answer, timeout_seconds=None)
    if answer.has(Float) or right.has(Float):
        rounding = min(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * size)
        return bool(difference <= max(rounding, FLOAT_NOISE * size))
    return bool(difference <= EXACT * size)


def separate_cases(*texts: str) -> list[str]:
    """Renames a capital letter that stands beside its small one: math-verify takes X for x, so R - r would be 0.

    The new name is a letter that neither text uses and that is no unit, which math-verify would drop.
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
