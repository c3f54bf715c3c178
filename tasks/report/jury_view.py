"""The section on reward models: how each scores the sources' responses, and how well they agree."""

from tasks.report.markup import absent, table
from tasks.report.words import decimal, measured, percent


def jury(numbers: dict) -> str:
    found = numbers["jury"]
    if not found.get("models"):
        return absent("No response of a source was scored.")
    return each(found["models"]) + sources(found["models"]) + (agreements(found["agreements"]))


def each(models: list[dict]) -> str:
    caption = (
        "The reward models on all responses of the sources: the share of prompts where two different responses have the "
        "best score, and the correlation of scores with length in tokens (Pearson's r; ρ of the ranks). A high correlation "
        "is not an error, but then “better” may mean “longer”. “reward” is the model that chose the training data."
    )
    rows = [
        [
            model["name"],
            decimal(model["responses"]),
            decimal(model["unscored"]),
            percent(model["ties"]),
            decimal(model["length_pearson"], 2, "+"),
            decimal(model["length_spearman"], 2, "+"),
        ]
        for model in models
    ]
    heads = ["Reward model", "Scored", "Unscored", "Ties for best", "r with length", "ρ with length"]
    return f"<p>{caption}</p>{table(heads, rows, 5)}"


def sources(models: list[dict]) -> str:
    caption = (
        "Mean score of each source's responses, and the mean without the influence of length: the score minus a straight "
        "line over tokens, plus the model's mean score. Look for sources whose order changes."
    )
    rows = [
        [model["name"] if place == 0 else "", source["source"], measured(source["mean"]), measured(source["residual"])]
        for model in models
        for place, source in enumerate(model["sources"])
    ]
    return f"<p>{caption}</p>" + table(["Reward model", "Source", "Mean score", "Beyond length"], rows, 2)


def agreements(pairs: list[dict]) -> str:
    if not pairs:
        return ""
    caption = (
        "How well two reward models agree on the responses that both scored, and for which share of the prompts they choose "
        "the same best response. For the other prompts, the target would learn from a different response."
    )
    rows = [
        [
            f"{pair['one']} · {pair['other']}",
            decimal(pair["responses"]),
            decimal(pair["pearson"], 2, "+"),
            decimal(pair["spearman"], 2, "+"),
            percent(pair["top"]),
        ]
        for pair in pairs
    ]
    return f"<p>{caption}</p>" + table(
        ["Reward models", "Scored by both", "Pearson r", "Spearman ρ", "Same best"], rows, 4
    )
