"""The sections with the reward model's scores: which sources wrote the best responses, and the distribution of scores."""

from tasks.report.charts import bars, ridges
from tasks.report.estimates import dotted
from tasks.report.markup import absent, figure, table
from tasks.report.words import decimal, measured, percent


def shares(numbers: dict) -> str:
    found = numbers["shares"]
    if not found:
        return absent("No response of a source was scored.")
    total = sum(source["responses"] or 0 for source in found)
    expected = [source["responses"] / total if total and source["responses"] is not None else None for source in found]
    chart = bars(
        [
            (source["source"], source["share"], even, f"{percent(source['share'])} · {decimal(source['count'])}")
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
            decimal(source["responses"]),
            decimal(source["count"]),
            decimal(source["tied"]),
            percent(source["share"]),
            measured(source["mean_score"]),
        ]
        for source in found
    ]
    heads = ["Source", "Responses", "Best", "Of these tied", "Share", "Mean score"]
    return figure(caption, [chart]) + table(heads, rows, 5)


def rewards(numbers: dict) -> str:
    found = numbers["rewards"]
    if not found.get("series") or len(found.get("edges") or []) < 2:
        return absent("There are no scores to show as distributions.")
    rows = [
        [dotted(model["name"], model["role"]), decimal(sum(model["counts"])), measured(model["mean"])]
        for model in found["series"]
    ]
    return figure(
        "Distribution of the scores of each model's responses; all areas are equal. The vertical line and the "
        "number at the right are the mean: look for the distance between the models, and how much they overlap.",
        [ridges(found["edges"], found["series"], "reward score"), table(["Model", "Responses", "Mean"], rows, 2)],
    )
