"""The report of a run as one self-contained HTML page: no scripts, no network, every foreign text escaped.

It says in numbers, intervals and charts what the run left behind, and nothing beyond these.
"""

import itertools
from pathlib import Path

from tasks.report import jury_view, suite_view
from tasks.report.charts import Html, bars, curves, decimal, finite, forest, measured, percent, ridges, role, text
from tasks.report.markup import absent, figure, table

STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
METRICS = {"accuracy": "accuracy", "win_rate": "win rate"}
STAGES = {"target": "target", "sft": "SFT", "wrpo": "WRPO"}
REWARDS = [
    ("reward_source_best", "best of sources", "source"),
    ("reward_own_best", "best own", "wrpo"),
    ("reward_own_worst", "worst own", "target"),
]
ACCURACIES = [
    ("accuracy_source", "sources", "source"),
    ("accuracy_own", "own", "target"),
    ("accuracy_weighted", "weighted", "wrpo"),
]


def render(numbers: dict) -> str:
    sections = [(anchor, title, content(numbers)) for anchor, title, content in SECTIONS]
    return document(f"Fusion report: {text(numbers['recipe'])}", headline(numbers), sections)


def document(title: str, header: str, sections: list[tuple[str, str, str]]) -> str:
    """A whole page of (anchor, title, markup); `title` and `header` are markup already."""
    body = "".join(f'<section id="{anchor}"><h2>{name}</h2>{content}</section>' for anchor, name, content in sections)
    contents = "".join(f'<li><a href="#{anchor}">{name}</a></li>' for anchor, name, _ in sections)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{title}</title>'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head><body>{header}"
        f'<nav aria-label="Contents"><ol>{contents}</ol></nav><main>{body}</main></body></html>\n'
    )


def headline(numbers: dict) -> str:
    first = {one["role"]: one for one in reversed(numbers["results"])}
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


def card(stage: str, one: dict | None) -> str:
    known = one or {}
    rates = "".join(
        f"<div><dt>{METRICS[metric]}</dt><dd><strong>{percent((known.get(metric) or {}).get('value'))}"
        f"</strong><small>{span(known.get(metric))}</small></dd></div>"
        for metric in METRICS
    )
    length = decimal(known.get("tokens"), 1)
    return (
        f'<div class="card {stage}"><h3>{text(one["model"] if one else STAGES[stage])}</h3><dl>{rates}</dl>'
        f'<p class="tokens">mean response {length} tokens</p></div>'
    )


def step(numbers: dict, before: dict | None, after: dict | None) -> str:
    """The arrow between two cards, with the differences that were measured between just these two models."""
    names = [(one or {}).get("model") for one in (before, after)]
    found = [one for one in numbers["differences"] if [one["from"], one["to"]] == names]
    words = "".join(f"<span>{METRICS[one['metric']]} <b>{text(change(one))}</b></span>" for one in found)
    return f'<div class="step"><span class="arrow">→</span>{words}</div>'


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


def results(numbers: dict) -> str:
    if not numbers["results"]:
        return absent("No evaluation results were left.")
    order = [*STAGES, "source"]
    ranked = sorted(numbers["results"], key=lambda one: order.index(role(one["role"])))
    charts = [
        forest(
            [(one["model"], one["role"], one[metric]) for one in ranked],
            f"{METRICS[metric]} (%)",
            0.5 if metric == "win_rate" else None,
            percent,
            lambda tick: f"{tick * 100:g}",
        )
        for metric in METRICS
        if any(one[metric] for one in ranked)
    ]
    caption = (
        f"Accuracy, and win rate against one response of each source (ties count a half), with {level(numbers)} "
        "intervals: look for points far apart beside the width of their intervals. Each axis covers only the "
        "range of its data; the dashed line marks a win rate of 50 %."
    )
    rows = [
        [dotted(one["model"], one["role"]), rate(one["accuracy"]), rate(one["win_rate"]), decimal(one["tokens"], 1)]
        for one in ranked
    ]
    return figure(caption, charts) + table(["Model", "Accuracy", "Win rate", "Mean tokens"], rows, 3)


def dotted(name: str, kind: str) -> Html:
    return Html(f'<span class="dot {role(kind)}" aria-hidden="true">●&nbsp;</span>{text(name)}')


def differences(numbers: dict) -> str:
    found = numbers["differences"]
    if not found:
        return absent("No differences between models were computed.")
    roles = {one["model"]: one["role"] for one in numbers["results"]}
    charts = [
        forest(
            [
                (f"{one['from']} → {one['to']}", roles.get(one["to"], "source"), one)
                for one in found
                if one["metric"] == metric
            ],
            f"change of {METRICS[metric]} (percentage points)",
            0.0,
            points,
            lambda tick: f"{tick * 100:+g}".replace("-", "−") if tick else "0",
        )
        for metric in METRICS
        if any(one["metric"] == metric for one in found)
    ]
    caption = (
        f"Change from one model to the next on the same prompts, with {level(numbers)} intervals: one that "
        "includes 0, the dashed line, is called within noise."
    )
    rows = [
        [
            f"{one['from']} → {one['to']}",
            METRICS[one["metric"]],
            verdict(one),
            Html(
                f'{points(one["value"])}<span class="interval">{points(one["low"]).removesuffix(" pp")} to '
                f"{points(one['high'])}</span>"
            ),
        ]
        for one in found
    ]
    return figure(caption, charts) + table(["From → to", "Metric", "Reading", "Difference"], rows, 1)


def shares(numbers: dict) -> str:
    found = numbers["shares"]
    if not found:
        return absent("No response of a source was scored, so none is the best.")
    total = sum(one["responses"] or 0 for one in found)
    expected = [one["responses"] / total if total and one["responses"] is not None else None for one in found]
    chart = bars(
        [
            (one["source"], one["share"], even, f"{percent(one['share'])} · {decimal(one['count'])}")
            for one, even in zip(found, expected, strict=True)
        ],
        "share of best responses",
    )
    caption = (
        "Which source wrote the best response of a prompt: the upright tick is the source's part of all "
        "responses, so a bar that passes it won more often than its number of responses would give. Where sources "
        "tie for the best, the first in the recipe has it."
    )
    rows = [
        [
            one["source"],
            decimal(one["responses"]),
            decimal(one["count"]),
            decimal(one["tied"]),
            percent(one["share"]),
            measured(one["mean_score"]),
        ]
        for one in found
    ]
    return figure(
        caption, [chart, table(["Source", "Responses", "Best", "Of these tied", "Share", "Mean score"], rows, 5)]
    )


def rewards(numbers: dict) -> str:
    found = numbers["rewards"]
    if not found.get("series") or len(found.get("edges") or []) < 2:
        return absent("No scores were left to show as distributions.")
    rows = [
        [dotted(one["name"], one["role"]), decimal(sum(one["counts"])), measured(one["mean"])]
        for one in found["series"]
    ]
    return figure(
        "Distribution of the scores of each model's responses, every area equal; the upright line and the "
        "number at the right are the mean: look for how far the models lie apart, and how much they overlap.",
        [ridges(found["edges"], found["series"], "reward score"), table(["Model", "Responses", "Mean"], rows, 2)],
    )


def dynamics(numbers: dict) -> str:
    found = numbers["dynamics"]
    if not found:
        return absent("No steps of WRPO training were logged.")
    implicit = figure(
        "Implicit rewards of the preferred (best of sources, best own) and dispreferred (worst own) responses, and how "
        "often a preferred one is ahead: look for the preferred curves parting from the dispreferred one. Logged "
        "values, unsmoothed; weighted by α where it says so.",
        [
            curves(found, REWARDS, "implicit reward (nats)", zero=True),
            curves(found, ACCURACIES, "ahead of worst own (share of pairs)"),
            curves(found, [("margin", "", "wrpo")], "weighted margin (nats)", zero=True),
            curves(found, [("alpha", "", "source")], "α, weight of the best of sources", zero=True),
        ],
    )
    return implicit + figure(
        "Course of the optimisation: the loss should settle, and the norm of the gradient stay bounded.",
        [
            curves(found, [("loss", "", "wrpo")], "WRPO loss"),
            curves(found, [("grad_norm", "", "wrpo")], "gradient norm"),
            curves(found, [("learning_rate", "", "wrpo")], "learning rate", zero=True),
        ],
    )


def tuning(numbers: dict) -> str:
    found = numbers["sft_dynamics"]
    if not found:
        return absent("No steps of SFT were logged.")
    return figure(
        "Training loss and learning rate of SFT: look for a loss that settles; it is on training data, so a "
        "low value alone is no sign of quality.",
        [
            curves(found, [("loss", "", "sft")], "SFT loss (nats per response token)"),
            curves(found, [("learning_rate", "", "sft")], "learning rate", zero=True),
        ],
    )


def counts(numbers: dict) -> str:
    if not numbers["counts"]:
        return absent("No counts were left by the stages.")
    of: dict[str, list[str]] = {}
    for one in numbers["counts"]:
        of.setdefault(one["label"], []).append(f"{one['what']} {decimal(one['value'])}")
    return table(["Stage", "Counts"], [[label, " · ".join(found)] for label, found in of.items()], 0)


def costs(numbers: dict) -> str:
    found = numbers["costs"]
    if not found:
        return absent("No costs were recorded.")
    fields = ("rows", "tokens", "seconds")
    totals = {field: sum(one[field] for one in found if finite(one[field])) for field in fields}
    rows = [
        [
            one["label"],
            meter(one["seconds"], max(other["seconds"] or 0 for other in found)),
            decimal(one["rows"]),
            decimal(one["tokens"]),
            duration(one["seconds"]),
        ]
        for one in found
    ]
    foot = ["Total", "", decimal(totals["rows"]), decimal(totals["tokens"]), duration(totals["seconds"])]
    return "<p>Time, rows and tokens that each stage recorded; bars compare the time.</p>" + table(
        ["Stage", "", "Rows", "Tokens", "Time"], rows, 3, foot
    )


def meter(value: float | None, longest: float) -> Html:
    width = value / longest * 100 if finite(value) and longest else 0
    return Html(f'<span class="meter"><i style="width:{width:.1f}%"></i></span>' if width else "")


def duration(seconds: float | None) -> str:
    if not finite(seconds) or seconds < 60:
        return decimal(seconds, 1) + " s" if finite(seconds) else "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def examples(numbers: dict) -> str:
    if not numbers["examples"]:
        return absent("No examples were left.")
    return "".join(
        f'<div class="example"><dl class="asked">'
        f'<dt>Prompt</dt><dd class="said" dir="auto">{text(one["prompt"])}</dd>'
        f'<dt>Gold</dt><dd class="said" dir="auto">{text(one["gold"])}</dd></dl>'
        f'<div class="answers">{"".join(map(answer, one["answers"]))}</div></div>'
        for one in numbers["examples"]
    )


def answer(one: dict) -> str:
    kind, words = {True: ("right", "✓ correct"), False: ("wrong", "✗ wrong"), None: ("", "not checked")}[one["correct"]]
    return (
        f'<div class="answer"><h4>{text(one["model"])}<span class="verdict {kind}">{words}</span></h4>'
        f'<p class="said" dir="auto">{text(one["text"])}</p></div>'
    )


def recipe(numbers: dict) -> str:
    written = numbers["recipe_text"]
    return f"<pre>{text(written)}</pre>" if written else absent("The recipe was not kept.")


def versions(numbers: dict) -> str:
    if not numbers["versions"]:
        return absent("No versions were recorded.")
    return table(["Of", "Version"], [[name, version] for name, version in numbers["versions"].items()], 0)


SECTIONS = [
    ("results", "Results", results),
    ("differences", "Differences", differences),
    ("suites", "Suites", suite_view.suites),
    ("shares", "Best sources", shares),
    ("jury", "Reward models", jury_view.jury),
    ("rewards", "Reward distributions", rewards),
    ("dynamics", "WRPO dynamics", dynamics),
    ("sft", "SFT", tuning),
    ("counts", "Counts", counts),
    ("costs", "Costs", costs),
    ("examples", "Examples", examples),
    ("recipe", "Recipe", recipe),
    ("versions", "Versions", versions),
]
