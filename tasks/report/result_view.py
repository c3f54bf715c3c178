"""The sections with the results on held-out prompts: every model, and the differences between models."""

from tasks.report.charts import forest
from tasks.report.estimates import METRICS, dotted, level, points, rate, verdict
from tasks.report.headline import STAGES
from tasks.report.markup import absent, figure, table
from tasks.report.words import Html, decimal, percent, role, text


def results(numbers: dict) -> str:
    if not numbers["results"]:
        return absent("There are no evaluation results.")
    order = [*STAGES, "source"]
    ranked = sorted(numbers["results"], key=lambda result: order.index(role(result["role"])))
    charts = [
        forest(
            [(result["model"], result["role"], result[metric]) for result in ranked],
            f"{METRICS[metric]} (%)",
            0.5 if metric == "win_rate" else None,
            percent,
            lambda tick: f"{tick * 100:g}",
        )
        for metric in METRICS
        if any(result[metric] for result in ranked)
    ]
    caption = (
        f"{accuracy(numbers)}, and win rate against one response of each source (a tie counts one half), with "
        f"{level(numbers)} intervals: look for points that are far apart compared with their intervals. Each axis covers "
        "only the range of its data; the dashed line marks a win rate of 50 %."
    )
    rows = [
        [
            dotted(result["model"], result["role"]),
            rate(result["accuracy"]),
            rate(result["win_rate"]),
            decimal(result["tokens"], 1),
        ]
        for result in ranked
    ]
    return figure(caption, charts) + table(["Model", "Accuracy", "Win rate", "Mean tokens"], rows, 3)


def accuracy(numbers: dict) -> str:
    """Explains the accuracy: on which prompts, how many answers could not be checked, or why there is no accuracy."""
    if numbers["no_accuracy"]:
        return f"Accuracy (–, because {text(numbers['no_accuracy'])})"
    unchecked = {result["model"]: result["unchecked"] for result in numbers["results"] if result["unchecked"]}
    counts = ", ".join(f"{text(name)} {count}" for name, count in unchecked.items())
    note = f" (not checked, counted as not correct: {counts})" if counts else ""
    return "Accuracy on prompts with a gold answer" + note


def differences(numbers: dict) -> str:
    found = numbers["differences"]
    if not found:
        return absent("No differences between models were computed.")
    roles = {result["model"]: result["role"] for result in numbers["results"]}
    charts = [
        forest(
            [
                (f"{change['from']} → {change['to']}", roles.get(change["to"], "source"), change)
                for change in found
                if change["metric"] == metric
            ],
            f"change of {METRICS[metric]} (percentage points)",
            0.0,
            points,
            lambda tick: f"{tick * 100:+g}".replace("-", "−") if tick else "0",
        )
        for metric in METRICS
        if any(change["metric"] == metric for change in found)
    ]
    caption = (
        f"Change from one model to the next on the same prompts, with {level(numbers)} intervals. A change whose interval "
        "includes 0 (the dashed line) is called within noise."
    )
    rows = [
        [
            f"{change['from']} → {change['to']}",
            METRICS[change["metric"]],
            verdict(change),
            Html(
                f'{points(change["value"])}<span class="interval">{points(change["low"]).removesuffix(" pp")} to '
                f"{points(change['high'])}</span>"
            ),
        ]
        for change in found
    ]
    return figure(caption, charts) + table(["From → to", "Metric", "Reading", "Difference"], rows, 1)
