"""Compares formulas by their values at a few points. This is faster than simplification, and tolerances are relative."""

from typing import cast

from sympy import Abs, E, Expr, Float, Integral, Limit, Product, Rational, S, Sum, Symbol, UnevaluatedExpr, oo
from sympy.core.function import AppliedUndef, Derivative

ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, FLOAT_NOISE = 1e-6, 1.1e-5, 1e-13
EXACT = 1e-20
POINTS = 3
WITHOUT_VALUE = (UnevaluatedExpr, AppliedUndef, Derivative, Integral, Limit)  # a percent sign; f(x); slow to evaluate


def compare_formulas(answer: Expr, right: Expr) -> bool | None:
    """None if values cannot decide: names, unknown functions, or formulas that agree only for positive variables."""
    answer, right = (
        cast(Expr, formula.xreplace({s: E for s in cast("set[Symbol]", formula.free_symbols) if s.name == "e"}))
        for formula in (answer, right)
    )
    symbols = sorted(answer.free_symbols | right.free_symbols, key=str)
    if any(formula.is_Symbol or formula.has(*WITHOUT_VALUE) for formula in (answer, right)):
        return None
    if not symbols:
        return is_same_number(answer, right)
    if answer.has(Sum, Product) or right.has(Sum, Product):
        return None
    agreed = [compare_at(answer, right, make_point(symbols, number)) for number in range(POINTS)]
    if not all(agreed):
        return False if False in agreed else None
    return all(compare_at(answer, right, make_point(symbols, number, sign=-1)) for number in range(POINTS)) or None


def make_point(symbols: list, number: int, sign: int = 1) -> dict:
    return {symbol: sign * Rational(101 + 37 * number + 29 * place, 89) for place, symbol in enumerate(symbols)}


def compare_at(answer: Expr, right: Expr, point: dict) -> bool | None:
    values = [evaluate(formula, point) for formula in (answer, right)]
    if not all(value.is_number and value.is_finite for value in values):
        return None
    return is_close(*values, rounded=answer.has(Float) or right.has(Float))


def is_same_number(answer: Expr, right: Expr) -> bool:
    values = [evaluate(number, {}) for number in (answer, right)]
    if not all(value.is_number and value.is_finite for value in values):
        return answer == right and right in (oo, -oo)
    return is_close(*values, rounded=answer.has(Float) or right.has(Float))


def evaluate(formula: Expr, point: dict) -> Expr:
    """Returns the value at a point; zero if no digit of it is certain."""
    value = formula.evalf(30, subs=point)
    return S.Zero if value.is_Float and not value.is_comparable else value


def is_close(answer: Expr, right: Expr, rounded: bool) -> bool:
    """Exact numbers must agree in 20 digits; numbers with a decimal point may be rounded."""
    difference, size = Abs(answer - right).evalf(30), Abs(right).evalf(30)
    if rounded:
        return bool(difference <= max(min(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * size), FLOAT_NOISE * size))
    return bool(difference <= EXACT * size)
