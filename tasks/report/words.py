"""Formats numbers and names for readers, and escapes text for a page."""

import html
import math

ROLES = ("target", "sft", "wrpo", "source")
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Html(str):
    """Markup made by this package: the only strings that `text` does not escape."""


def text(value: object) -> Html:
    """Any value as safe markup: text of a model or a recipe is shown, never interpreted."""
    if isinstance(value, Html):
        return value
    return Html("–" if value is None else html.escape(str(value).encode("utf-8", "replace").decode("utf-8")))


def finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def decimal(value: float | None, digits: int = 0, sign: str = "") -> str:
    return f"{value:{sign},.{digits}f}".replace("-", "−") if finite(value) else "–"


def percent(value: float | None) -> str:
    return decimal(value * 100, 1) + " %" if finite(value) else "–"


def compact(value: float | None, style: str = ",.3g") -> str:
    """At most three significant digits: for values of unknown size."""
    if not finite(value):
        return "–"
    digits, _, power = f"{value:{style}}".rstrip(".").partition("e")
    return digits.replace("-", "−") + ("×10" + str(int(power)).translate(SUPERSCRIPTS) if power else "")


def measured(value: float | None) -> str:
    """Exactly three significant digits, with trailing zeros; zero is shown as 0."""
    return compact(value, "#,.3g") if value else compact(value)


def role(name: str) -> str:
    return name if name in ROLES else "source"


def shorten(name: str, length: int) -> str:
    kept = (length - 1) // 2
    return name if len(name) <= length else f"{name[: length - 1 - kept]}…{name[-kept:]}"
