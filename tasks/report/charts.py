"""Inline SVG charts of the report: intervals, bars, distributions, curves. Written without a plotting library.

Colours come from the classes target, sft, wrpo and source of style.css; marks also differ by shape and dash.
"""

import itertools
from collections.abc import Callable

from tasks.report.axes import WIDTH, Scale, bottom_axis, draw_label, draw_line, draw_svg, make_scale, round_ticks
from tasks.report.words import Html, css_role, format_compact, format_measured, is_finite, render_value, shorten_name

FEW = 20  # a line with at most so many points shows a mark at every point
LEFT = 136


def draw_mark(x: float, y: float, kind: str) -> str:
    """Target: disc; SFT: square; WRPO: diamond; source: ring."""
    match kind:
        case "sft":
            return f'<rect x="{x - 4.5:g}" y="{y - 4.5:g}" width="9" height="9" class="fill"/>'
        case "wrpo":
            return f'<path d="M{x:g} {y - 6.5:g}l6.5 6.5l-6.5 6.5l-6.5 -6.5z" class="fill"/>'
        case "source":
            return f'<circle cx="{x:g}" cy="{y:g}" r="4.2" class="ring"/>'
    return f'<circle cx="{x:g}" cy="{y:g}" r="5" class="fill"/>'


def draw_forest(
    rows: list[tuple[str, str, dict | None]],
    title: str,
    reference: float | None,
    show: Callable[[float | None], str],
    show_tick: Callable[[float], str],
) -> Html:
    """A point and its interval per row (name, role, {value, low, high}); a dashed line at the reference."""
    known = [estimate[end] for _, _, estimate in rows if estimate for end in ("value", "low", "high")]
    values = [value for value in [*known, reference] if is_finite(value)]
    across = make_scale(values or [0.0, 1.0], LEFT, WIDTH - 66)
    bottom = 6 + 28 * len(rows)
    parts = bottom_axis(across, 6, bottom, title, show_tick)
    if is_finite(reference):
        parts.append(draw_line(across.at(reference), 6, across.at(reference), bottom, "reference"))
    for index, (name, kind, estimate) in enumerate(rows):
        y, value = 20 + 28 * index, (estimate or {}).get("value")
        drawn = [
            f"<title>{render_value(name)}</title>",
            draw_label(0, y + 4, shorten_name(name, 16), "name"),
            draw_label(WIDTH, y + 4, show(value), "value", "end"),
        ]
        if estimate and is_finite(estimate["low"]) and is_finite(estimate["high"]):
            low, high = across.at(estimate["low"]), across.at(estimate["high"])
            drawn += [
                draw_line(low, y, high, y, "whisker"),
                draw_line(low, y - 4, low, y + 4, "whisker"),
                draw_line(high, y - 4, high, y + 4, "whisker"),
            ]
        if is_finite(value):
            drawn.append(draw_mark(across.at(value), y, css_role(kind)))
        parts.append(f'<g class="{css_role(kind)}">{"".join(drawn)}</g>')
    return draw_svg(bottom + 40, title, parts)


def draw_bars(rows: list[tuple[str, float | None, float | None, str]], title: str) -> Html:
    """A bar per row (name, share, expected share, note), with a tick at the expected share."""
    values = [value for _, share, expected, _ in rows for value in (share, expected) if is_finite(value)]
    across = Scale(0.0, max([*values, 0.01]) * 1.02, LEFT, WIDTH - 96)
    bottom = 6 + 28 * len(rows)
    parts = bottom_axis(across, 6, bottom, title, lambda tick: f"{tick * 100:g} %")
    for index, (name, share, expected, note) in enumerate(rows):
        y = 20 + 28 * index
        parts += [draw_label(0, y + 4, shorten_name(name, 16), "name"), draw_label(WIDTH, y + 4, note, "value", "end")]
        if is_finite(share):
            parts.append(
                f'<rect x="{across.start:g}" y="{y - 8}" width="{across.at(share) - across.start:.1f}" '
                f'height="16" class="source soft"><title>{render_value(name)}</title></rect>'
            )
        if is_finite(expected):
            parts.append(draw_line(across.at(expected), y - 11, across.at(expected), y + 11, "expected"))
    return draw_svg(bottom + 40, title, parts)


def draw_ridges(edges: list[float], series: list[dict], title: str) -> Html:
    """One density histogram per series over shared axes: all areas are equal, so heights can be compared."""
    across = Scale(edges[0], edges[-1], LEFT, WIDTH - 66)
    bins = list(itertools.pairwise(edges))
    densities = [
        [
            count / (sum(part["counts"]) or 1) / (right - left)
            for count, (left, right) in zip(part["counts"], bins, strict=True)
        ]
        for part in series
    ]
    tallest = max([max(density, default=0.0) for density in densities], default=0.0) or 1.0
    bottom = 4 + 50 * len(series)
    parts = bottom_axis(across, 4, bottom, title, format_compact)
    for index, (part, density) in enumerate(zip(series, densities, strict=True)):
        base = 50 * (index + 1)
        steps = "".join(
            f"V{base - 42 * height / tallest:.1f}H{across.at(right)}"
            for height, (_, right) in zip(density, bins, strict=True)
        )
        drawn = [
            f'<path d="M{across.start} {base}{steps}V{base}z" class="ridge"/>',
            draw_line(across.start, base, across.end, base, "base"),
            draw_label(0, base - 5, shorten_name(part["name"], 16), "name"),
            draw_label(WIDTH, base - 5, format_measured(part["mean"]), "value", "end"),
        ]
        if is_finite(part["mean"]) and edges[0] <= part["mean"] <= edges[-1]:
            drawn.append(draw_line(across.at(part["mean"]), base - 46, across.at(part["mean"]), base, "mean"))
        parts.append(
            f'<g class="{css_role(part["role"])}"><title>{render_value(part["name"])}</title>{"".join(drawn)}</g>'
        )
    return draw_svg(bottom + 40, title, parts)


def spread_positions(wanted: list[float], gap: float, top: float, bottom: float) -> list[float]:
    """Positions near the wanted ones, at least a gap apart, so that the labels at the ends of lines do not overlap."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed, limit = list(wanted), top
    for index in order:
        placed[index] = max(wanted[index], limit)
        limit = placed[index] + gap
    limit = bottom
    for index in reversed(order):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return placed


def draw_curves(
    records: list[dict],
    series: list[tuple[str, str, str]],
    title: str,
    zero: bool = False,
    over: str = "optimiser step",
) -> Html:
    """A line per (field, name, role) over the records' `step`, labelled with its name at its end."""
    lines = [(name, kind, [(row["step"], row[field]) for row in records]) for field, name, kind in series]
    values = [value for _, _, points in lines for _, value in points if is_finite(value)] + [0.0] * zero
    if not any(is_finite(value) for _, _, points in lines for _, value in points):
        return Html(f'<p class="absent">{render_value(title)}: no values were logged.</p>')
    up, bottom = make_scale(values, 196, 28), 200
    steps = [row["step"] for row in records]
    across = Scale(
        min(steps),
        max(steps) if max(steps) > min(steps) else min(steps) + 1,
        58,
        WIDTH - (138 if len(lines) > 1 else 56),
    )
    parts = [draw_label(0, 12, title, "axis"), *bottom_axis(across, bottom, bottom, over, format_compact)]
    for tick in round_ticks(up.low, up.high):
        parts += [
            draw_line(across.start, up.at(tick), across.end, up.at(tick), "grid"),
            draw_label(across.start - 6, up.at(tick) + 4, format_compact(tick), "tick", "end"),
        ]
    if up.low < 0 < up.high:
        parts.append(draw_line(across.start, up.at(0), across.end, up.at(0), "base"))
    known = [(name, kind, points) for name, kind, points in lines if any(is_finite(value) for _, value in points)]
    last = [next((step, value) for step, value in reversed(points) if is_finite(value)) for _, _, points in known]
    heights = spread_positions([up.at(value) + 4 for _, value in last], 15, 36, bottom)
    for (name, kind, points), (step, value), height in zip(known, last, heights, strict=True):
        words = f"{name} {format_measured(value)}".strip()
        marked = [(at, to) for at, to in points if is_finite(to)] if len(records) <= FEW else [(step, value)]
        dots = "".join(f'<circle cx="{across.at(at)}" cy="{up.at(to)}" r="2.6" class="fill"/>' for at, to in marked)
        parts.append(
            f'<g class="{kind}"><title>{render_value(words)}</title>'
            f'<path d="{draw_trace(points, across, up)}" class="curve"/>'
            f"{dots}"
            f"{draw_label(across.end + 8, height, words, 'end')}</g>"
        )
    return draw_svg(bottom + 40, title, parts)


def draw_trace(points: list[tuple[float, float | None]], across: Scale, up: Scale) -> str:
    """The path through the finite points; a missing value leaves a gap."""
    path, pen = "", "M"
    for step, value in points:
        if is_finite(value):
            path, pen = f"{path}{pen}{across.at(step)} {up.at(value)}", "L"
        else:
            pen = "M"
    return path
