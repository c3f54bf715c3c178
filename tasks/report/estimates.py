"""Formats numbers with their intervals, and differences."""

from tasks.report.words import Html, css_role, format_decimal, format_percent, is_finite, render_value

METRICS = {"accuracy": "accuracy", "win_rate": "win rate"}


def format_change(difference: dict) -> str:
    return "within noise" if read_verdict_word(difference) == "within noise" else format_points(difference["value"])


def read_verdict_word(difference: dict) -> str:
    if not (is_finite(difference["low"]) and is_finite(difference["high"])):
        return "–"
    if difference["low"] <= 0 <= difference["high"]:
        return "within noise"
    return "higher" if difference["low"] > 0 else "lower"


def format_points(value: float | None) -> str:
    return format_decimal(value * 100, 1, "+") + " pp" if is_finite(value) else "–"


def confidence_level(numbers: dict) -> str:
    return f"{numbers['confidence'] * 100:g}\u00a0%"


def format_bounds(estimate: dict | None) -> str:
    return (
        f"{format_percent(estimate['low']).removesuffix(' %')} to {format_percent(estimate['high'])}"
        if estimate
        else "–"
    )


def render_rate(estimate: dict | None) -> Html:
    return Html(
        f'{format_percent(estimate["value"])}<span class="interval">{format_bounds(estimate)}</span>'
        if estimate
        else "–"
    )


def render_name(name: str, kind: str) -> Html:
    return Html(f'<span class="dot {css_role(kind)}" aria-hidden="true">●&nbsp;</span>{render_value(name)}')
