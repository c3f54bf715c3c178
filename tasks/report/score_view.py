"""The sections with the reward model's scores: which sources wrote the best responses, and the distribution of scores."""

from tasks.report.charts import draw_bars, draw_ridges
from tasks.report.estimates import render_name
from tasks.report.markup import render_absent, render_figure, render_table
from tasks.report.words import format_decimal, format_measured, format_percent


def render_shares(numbers: dict) -> str:
    found = numbers["shares"]
    if not found:
        return render_absent("No response of a source was scored.")
    total = sum(source["responses"] or 0 for source in found)
    expected = [source["responses"] / total if total and source["responses"] is not None else None for source in found]
    chart = draw_bars(
        [
            (
                source["source"],
                source["share"],
                even,
                f"{format_percent(source['share'])} · {format_decimal(source['count'])}",
            )
            for source, even in zip(found, expected, strict=True)
        ],
        "share of best responses",
    )
    caption = (
        "The share of prompts whose best response a source wrote. The vertical tick is the source's share of all "
        "responses: a bar that is longer won more often than the number of its responses explains. If sources "
        "tie for the best, the first one in the recipe counts."
    )
    rows = [
        [
            source["source"],
            format_decimal(source["responses"]),
            format_decimal(source["count"]),
            format_decimal(source["tied"]),
            format_percent(source["share"]),
            format_measured(source["mean_score"]),
        ]
        for source in found
    ]
    heads = ["Source", "Responses", "Best", "Of these tied", "Share", "Mean score"]
    return render_figure(caption, [chart]) + render_table(heads, rows, 5)


def render_rewards(numbers: dict) -> str:
    found = numbers["rewards"]
    if not found.get("series") or len(found.get("edges") or []) < 2:
        return render_absent("There are no scores to show as distributions.")
    rows = [
        [
            render_name(model["name"], model["role"]),
            format_decimal(sum(model["counts"])),
            format_measured(model["mean"]),
        ]
        for model in found["series"]
    ]
    return render_figure(
        "Distribution of the scores of each model's responses; all areas are equal. The vertical line and the "
        "number at the right are the mean: look for the distance between the models, and how much they overlap.",
        [
            draw_ridges(found["edges"], found["series"], "reward score"),
            render_table(["Model", "Responses", "Mean"], rows, 2),
        ],
    )
