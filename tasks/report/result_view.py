"""What was measured on held-out prompts: every model, and every difference between two."""

from tasks.report.charts import forest
from tasks.report.estimates import METRICS, dotted, level, points, rate, verdict
from tasks.report.headline import STAGES
from tasks.report.markup import absent, figure, table
from tasks.report.words import Html, decimal, percent, role, text


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
        f"{accuracy(numbers)}, and win rate against one response of each source (ties count a half), with {level(numbers)} "
        "intervals: look for points far apart beside the width of their intervals. Each axis covers only the "
        "range of its data; the dashed line marks a win rate of 50 %."
    )
    rows = [
        [dotted(one["model"], one["role"]), rate(one["accuracy"]), rate(one["win_rate"]), decimal(one["tokens"], 1)]
        for one in ranked
    ]
    return figure(caption, charts) + table(["Model", "Accuracy", "Win rate", "Mean tokens"], rows, 3)


def accuracy(numbers: dict) -> str:
    """What the accuracy is of, or why there is none; how many answers could not be checked."""
    if numbers["no_accuracy"]:
        return f"Accuracy (–, as {text(numbers['no_accuracy'])})"
    unchecked = {one["model"]: one["unchecked"] for one in numbers["results"] if one["unchecked"]}
    said = ", ".join(f"{text(name)} {count}" for name, count in unchecked.items())
    return "Accuracy on prompts with a gold" + (f" (not checked, counted as not correct: {said})" if said else "")


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
