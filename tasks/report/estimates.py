"""Formats numbers with their intervals, and differences."""

from tasks.report.words import Html, decimal, finite, percent, role, text

METRICS = {"accuracy": "accuracy", "win_rate": "win rate"}


def change(difference: dict) -> str:
    return "within noise" if verdict(difference) == "within noise" else points(difference["value"])


def verdict(difference: dict) -> str:
    if not (finite(difference["low"]) and finite(difference["high"])):
        return "–"
    if difference["low"] <= 0 <= difference["high"]:
        return "within noise"
    return "higher" if difference["low"] > 0 else "lower"


def points(value: float | None) -> str:
    return decimal(value * 100, 1, "+") + " pp" if finite(value) else "–"


def level(numbers: dict) -> str:
    return f"{numbers['confidence'] * 100:g}\u00a0%"


def span(estimate: dict | None) -> str:
    return f"{percent(estimate['low']).removesuffix(' %')} to {percent(estimate['high'])}" if estimate else "–"


def rate(estimate: dict | None) -> Html:
    return Html(f'{percent(estimate["value"])}<span class="interval">{span(estimate)}</span>' if estimate else "–")


def dotted(name: str, kind: str) -> Html:
    return Html(f'<span class="dot {role(kind)}" aria-hidden="true">●&nbsp;</span>{text(name)}')
