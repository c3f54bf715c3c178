"""The section on reward models: what each makes of the sources' responses, and how far they agree."""

from tasks.report.markup import absent, table
from tasks.report.words import decimal, measured, percent


def jury(numbers: dict) -> str:
    found = numbers["jury"]
    if not found.get("models"):
        return absent("No response of a source was scored.")
    return each(found["models"]) + sources(found["models"]) + (agreements(found["agreements"]))


def each(models: list[dict]) -> str:
    caption = (
        "What the reward models do, over all responses of the sources: in how many prompts two different responses share "
        "the best score, and how scores go with length in tokens (Pearson's r; ρ of the ranks). A high correlation is no "
        "fault by itself, but then “better” may mean “longer”. “reward” is the model that chose the training data."
    )
    rows = [
        [
            one["name"],
            decimal(one["responses"]),
            decimal(one["unscored"]),
            percent(one["ties"]),
            decimal(one["length_pearson"], 2, "+"),
            decimal(one["length_spearman"], 2, "+"),
        ]
        for one in models
    ]
    heads = ["Reward model", "Scored", "Unscored", "Ties for best", "r with length", "ρ with length"]
    return f"<p>{caption}</p>{table(heads, rows, 5)}"


def sources(models: list[dict]) -> str:
    caption = (
        "Mean score of each source's responses, and what is left of it beyond length: the score less a straight line over "
        "tokens, put back at the model's own mean. Look for sources whose order changes."
    )
    rows = [
        [one["name"] if place == 0 else "", source["source"], measured(source["mean"]), measured(source["residual"])]
        for one in models
        for place, source in enumerate(one["sources"])
    ]
    return f"<p>{caption}</p>" + table(["Reward model", "Source", "Mean score", "Beyond length"], rows, 2)


def agreements(pairs: list[dict]) -> str:
    if not pairs:
        return ""
    caption = (
        "How far two reward models agree on the responses that both scored, and in how many prompts they choose the same "
        "best response: the others would give the target something else to learn."
    )
    rows = [
        [
            f"{one['one']} · {one['other']}",
            decimal(one["responses"]),
            decimal(one["pearson"], 2, "+"),
            decimal(one["spearman"], 2, "+"),
            percent(one["top"]),
        ]
        for one in pairs
    ]
    return f"<p>{caption}</p>" + table(
        ["Reward models", "Scored by both", "Pearson r", "Spearman ρ", "Same best"], rows, 4
    )
