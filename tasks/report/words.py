"""Formats numbers and names for readers, and escapes text for a page."""

import html
import math
from typing import TypeGuard

ROLES = ("target", "sft", "wrpo", "source")
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Html(str):
    """Markup made by this package: the only strings that `text` does not escape."""


def render_value(value: object) -> Html:
    """Any value as safe markup: text of a model or a recipe is shown, never interpreted."""
    if isinstance(value, Html):
        return value
    return Html("–" if value is None else html.escape(str(value).encode("utf-8", "replace").decode("utf-8")))


def is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def format_decimal(value: float | None, digits: int = 0, sign: str = "") -> str:
    return f"{value:{sign},.{digits}f}".replace("-", "−") if is_finite(value) else "–"


def format_percent(value: float | None) -> str:
    return format_decimal(value * 100, 1) + " %" if is_finite(value) else "–"


def format_compact(value: float | None, style: str = ",.3g") -> str:
    """At most three significant digits: for values of unknown size."""
    if not is_finite(value):
        return "–"
    digits, _, power = f"{value:{style}}".rstrip(".").partition("e")
    return digits.replace("-", "−") + ("×10" + str(int(power)).translate(SUPERSCRIPTS) if power else "")


def format_measured(value: float | None) -> str:
    """Exactly three significant digits, with trailing zeros; zero is shown as 0."""
    return format_compact(value, "#,.3g") if value else format_compact(value)


def css_role(name: str) -> str:
    return name if name in ROLES else "source"


def shorten_name(name: str, length: int) -> str:
    kept = (length - 1) // 2
    return name if len(name) <= length else f"{name[: length - 1 - kept]}…{name[-kept:]}"
