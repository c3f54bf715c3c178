"""What the reward model's scores say: who wrote the best responses, and how the scores lie."""

from tasks.report.charts import bars, ridges
from tasks.report.estimates import dotted
from tasks.report.markup import absent, figure, table
from tasks.report.words import decimal, measured, percent


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
    heads = ["Source", "Responses", "Best", "Of these tied", "Share", "Mean score"]
    return figure(caption, [chart]) + table(heads, rows, 5)


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
