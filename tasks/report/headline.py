"""The report's head: the three models, and the differences between them."""

import itertools

from tasks.report.estimates import METRICS, change, level, span
from tasks.report.words import decimal, percent, text

STAGES = {"target": "target", "sft": "SFT", "wrpo": "WRPO"}


def headline(numbers: dict) -> str:
    first = {result["role"]: result for result in reversed(numbers["results"])}
    cards = [card(stage, first.get(stage)) for stage in STAGES]
    steps = [step(numbers, first.get(before), first.get(after)) for before, after in itertools.pairwise(STAGES)]
    judge = f"judge: <b>{text(numbers['judge'])}</b>" if numbers["judge"] else "no judge"
    return (
        f'<header><h1>Fusion report: {text(numbers["recipe"])}</h1><p class="lead">{text(numbers["summary"])}</p>'
        f'<div class="path">{cards[0]}{steps[0]}{cards[1]}{steps[1]}{cards[2]}</div>'
        f'<p class="meta"><b>{decimal(numbers["held_out"])}</b> held-out prompts · '
        f"<b>{level(numbers)}</b> intervals · {judge} · created <b>{text(numbers['created'])}</b> · "
        f"fingerprint <b>{text(numbers['fingerprint'])}</b></p></header>"
    )


def card(stage: str, result: dict | None) -> str:
    known = result or {}
    rates = "".join(
        f"<div><dt>{METRICS[metric]}</dt><dd><strong>{percent((known.get(metric) or {}).get('value'))}"
        f"</strong><small>{span(known.get(metric))}</small></dd></div>"
        for metric in METRICS
    )
    length = decimal(known.get("tokens"), 1)
    return (
        f'<div class="card {stage}"><h3>{text(result["model"] if result else STAGES[stage])}</h3><dl>{rates}</dl>'
        f'<p class="tokens">mean response {length} tokens</p></div>'
    )


def step(numbers: dict, before: dict | None, after: dict | None) -> str:
    """The arrow between two cards, with the measured differences between these two models."""
    names = [(result or {}).get("model") for result in (before, after)]
    found = [difference for difference in numbers["differences"] if [difference["from"], difference["to"]] == names]
    words = "".join(f"<span>{METRICS[each['metric']]} <b>{text(change(each))}</b></span>" for each in found)
    return f'<div class="step"><span class="arrow">→</span>{words}</div>'
