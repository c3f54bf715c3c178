"""The sections with the results on held-out prompts: every model, and the differences between models."""

from tasks.report.charts import draw_forest
from tasks.report.estimates import METRICS, confidence_level, format_points, read_verdict_word, render_name, render_rate
from tasks.report.headline import STAGES
from tasks.report.markup import render_absent, render_figure, render_table
from tasks.report.words import Html, css_role, format_decimal, format_percent, render_value


def render_results(numbers: dict) -> str:
    if not numbers["results"]:
        return render_absent("There are no evaluation results.")
    order = [*STAGES, "source"]
    ranked = sorted(numbers["results"], key=lambda result: order.index(css_role(result["role"])))
    charts = [
        draw_forest(
            [(result["model"], result["role"], result[metric]) for result in ranked],
            f"{METRICS[metric]} (%)",
            0.5 if metric == "win_rate" else None,
            format_percent,
            lambda tick: f"{tick * 100:g}",
        )
        for metric in METRICS
        if any(result[metric] for result in ranked)
    ]
    caption = (
        f"{render_accuracy_note(numbers)}, and win rate against one response of each source (a tie counts one half), with "
        f"{confidence_level(numbers)} intervals: look for points that are far apart compared with their intervals. Each axis "
        "covers only the range of its data; the dashed line marks a win rate of 50 %."
    )
    rows = [
        [
            render_name(result["model"], result["role"]),
            render_rate(result["accuracy"]),
            render_rate(result["win_rate"]),
            format_decimal(result["tokens"], 1),
        ]
        for result in ranked
    ]
    return render_figure(caption, charts) + render_table(["Model", "Accuracy", "Win rate", "Mean tokens"], rows, 3)


def render_accuracy_note(numbers: dict) -> str:
    """Explains the accuracy: on which prompts, how many answers could not be checked, or why there is no accuracy."""
    if numbers["no_accuracy"]:
        return f"Accuracy (–, because {render_value(numbers['no_accuracy'])})"
    unchecked = {result["model"]: result["unchecked"] for result in numbers["results"] if result["unchecked"]}
    counts = ", ".join(f"{render_value(name)} {count}" for name, count in unchecked.items())
    note = f" (not checked, counted as not correct: {counts})" if counts else ""
    reasons = {result["model"]: result["no_accuracy"] for result in numbers["results"] if result.get("no_accuracy")}
    note += "".join(f" ({render_value(name)}: –, because {render_value(why)})" for name, why in reasons.items())
    return "Accuracy on prompts with a gold answer" + note


def render_differences(numbers: dict) -> str:
    found = numbers["differences"]
    if not found:
        return render_absent("No differences between models were computed.")
    roles = {result["model"]: result["role"] for result in numbers["results"]}
    charts = [
        draw_forest(
            [
                (f"{change['from']} → {change['to']}", roles.get(change["to"], "source"), change)
                for change in found
                if change["metric"] == metric
            ],
            f"change of {METRICS[metric]} (percentage points)",
            0.0,
            format_points,
            lambda tick: f"{tick * 100:+g}".replace("-", "−") if tick else "0",
        )
        for metric in METRICS
        if any(change["metric"] == metric for change in found)
    ]
    caption = (
        f"Change from one model to the next on the same prompts, with {confidence_level(numbers)} intervals. A change whose "
        "interval includes 0 (the dashed line) is called within noise."
    )
    rows = [
        [
            f"{change['from']} → {change['to']}",
            METRICS[change["metric"]],
            read_verdict_word(change),
            Html(
                f'{format_points(change["value"])}<span class="interval">{format_points(change["low"]).removesuffix(" pp")} to '
                f"{format_points(change['high'])}</span>"
            ),
        ]
        for change in found
    ]
    return render_figure(caption, charts) + render_table(["From → to", "Metric", "Reading", "Difference"], rows, 1)
