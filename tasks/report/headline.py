"""The report's head: the three models, and the differences between them."""

import itertools

from tasks.report.estimates import METRICS, confidence_level, format_bounds, format_change
from tasks.report.words import format_decimal, format_percent, render_value

STAGES = {"target": "target", "sft": "SFT", "wrpo": "WRPO"}


def render_headline(numbers: dict) -> str:
    first = {result["role"]: result for result in reversed(numbers["results"])}
    cards = [render_card(stage, first.get(stage)) for stage in STAGES]
    steps = [render_step(numbers, first.get(before), first.get(after)) for before, after in itertools.pairwise(STAGES)]
    judge = f"judge: <b>{render_value(numbers['judge'])}</b>" if numbers["judge"] else "no judge"
    return (
        f'<header><h1>Fusion report: {render_value(numbers["recipe"])}</h1><p class="lead">{render_value(numbers["summary"])}</p>'
        f'<div class="path">{cards[0]}{steps[0]}{cards[1]}{steps[1]}{cards[2]}</div>'
        f'<p class="meta"><b>{format_decimal(numbers["held_out"])}</b> held-out prompts · '
        f"<b>{confidence_level(numbers)}</b> intervals · {judge} · created <b>{render_value(numbers['created'])}</b> · "
        f"fingerprint <b>{render_value(numbers['fingerprint'])}</b></p></header>"
    )


def render_card(stage: str, result: dict | None) -> str:
    known = result or {}
    rates = "".join(
        f"<div><dt>{METRICS[metric]}</dt><dd><strong>{format_percent((known.get(metric) or {}).get('value'))}"
        f"</strong><small>{format_bounds(known.get(metric))}</small></dd></div>"
        for metric in METRICS
    )
    length = format_decimal(known.get("tokens"), 1)
    return (
        f'<div class="card {stage}"><h3>{render_value(result["model"] if result else STAGES[stage])}</h3><dl>{rates}</dl>'
        f'<p class="tokens">mean response {length} tokens</p></div>'
    )


def render_step(numbers: dict, before: dict | None, after: dict | None) -> str:
    """The arrow between two cards, with the measured differences between these two models."""
    names = [(result or {}).get("model") for result in (before, after)]
    found = [difference for difference in numbers["differences"] if [difference["from"], difference["to"]] == names]
    words = "".join(
        f"<span>{METRICS[each['metric']]} <b>{render_value(format_change(each))}</b></span>" for each in found
    )
    return f'<div class="step"><span class="arrow">→</span>{words}</div>'
