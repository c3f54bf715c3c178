"""How a number with its interval, and a difference, are put into words."""

from tasks.report.words import Html, decimal, finite, percent, role, text

METRICS = {"accuracy": "accuracy", "win_rate": "win rate"}


def change(one: dict) -> str:
    return "within noise" if verdict(one) == "within noise" else points(one["value"])


def verdict(one: dict) -> str:
    if not (finite(one["low"]) and finite(one["high"])):
        return "–"
    if one["low"] <= 0 <= one["high"]:
        return "within noise"
    return "higher" if one["low"] > 0 else "lower"


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
