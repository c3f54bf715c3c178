"""The section on reward models: how each scores the sources' responses, and how well they agree."""

from tasks.report.markup import render_absent, render_table
from tasks.report.words import format_decimal, format_measured, format_percent


def render_jury(numbers: dict) -> str:
    found = numbers["jury"]
    if not found.get("models"):
        return render_absent("No response of a source was scored.")
    return (
        render_jurors(found["models"]) + render_source_means(found["models"]) + (render_agreements(found["agreements"]))
    )


def render_jurors(models: list[dict]) -> str:
    caption = (
        "The reward models on all responses of the sources: the share of prompts where two different responses have the "
        "best score, and the correlation of scores with length in tokens (Pearson's r; ρ of the ranks). A high correlation "
        "is not an error, but then “better” may mean “longer”. “reward” is the model that chose the training data."
    )
    rows = [
        [
            model["name"],
            format_decimal(model["responses"]),
            format_decimal(model["unscored"]),
            format_percent(model["ties"]),
            format_decimal(model["length_pearson"], 2, "+"),
            format_decimal(model["length_spearman"], 2, "+"),
        ]
        for model in models
    ]
    heads = ["Reward model", "Scored", "Unscored", "Ties for best", "r with length", "ρ with length"]
    return f"<p>{caption}</p>{render_table(heads, rows, 5)}"


def render_source_means(models: list[dict]) -> str:
    caption = (
        "Mean score of each source's responses, and the mean without the influence of length: the score minus a straight "
        "line over tokens, plus the model's mean score. Look for sources whose order changes."
    )
    rows = [
        [
            model["name"] if place == 0 else "",
            source["source"],
            format_measured(source["mean"]),
            format_measured(source["residual"]),
        ]
        for model in models
        for place, source in enumerate(model["sources"])
    ]
    return f"<p>{caption}</p>" + render_table(["Reward model", "Source", "Mean score", "Beyond length"], rows, 2)


def render_agreements(pairs: list[dict]) -> str:
    if not pairs:
        return ""
    caption = (
        "How well two reward models agree on the responses that both scored, and for which share of the prompts they choose "
        "the same best response. For the other prompts, the target would learn from a different response."
    )
    rows = [
        [
            f"{pair['one']} · {pair['other']}",
            format_decimal(pair["responses"]),
            format_decimal(pair["pearson"], 2, "+"),
            format_decimal(pair["spearman"], 2, "+"),
            format_percent(pair["top"]),
        ]
        for pair in pairs
    ]
    return f"<p>{caption}</p>" + render_table(
        ["Reward models", "Scored by both", "Pearson r", "Spearman ρ", "Same best"], rows, 4
    )
