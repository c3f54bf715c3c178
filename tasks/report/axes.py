"""The parts of every chart: a scale, its ticks, labels and lines."""

import math
from collections.abc import Callable
from typing import NamedTuple

from tasks.report.words import Html, text

WIDTH = 440


class Scale(NamedTuple):
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def ticks(low: float, high: float, count: int = 7) -> list[float]:
    """About `count` or fewer round values (1, 2 or 5 times a power of ten) between low and high."""
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= count)
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def scale(values: list[float], start: float, end: float, margin: float = 0.06) -> Scale:
    low, high = min(values), max(values)
    room = (high - low) * margin or abs(high) * 0.1 or 1.0
    return Scale(low - room, high + room, start, end)


def label(x: float, y: float, words: object, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{text(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>'


def svg(height: float, title: str, parts: list[str]) -> Html:
    return Html(f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{text(title)}">{"".join(parts)}</svg>')


def bottom_axis(across: Scale, top: float, bottom: float, title: str, show: Callable[[float], str]) -> list[str]:
    parts = []
    for tick in ticks(across.low, across.high):
        parts += [
            line(across.at(tick), top, across.at(tick), bottom, "grid"),
            label(across.at(tick), bottom + 16, show(tick), "tick", "middle"),
        ]
    return [*parts, label((across.start + across.end) / 2, bottom + 34, title, "axis", "middle")]
