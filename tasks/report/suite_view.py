"""The results of one suite: every model's numbers with their judge and counts, differences, answers side by side."""

from tasks.report.charts import draw_forest
from tasks.report.markup import render_absent, render_figure, render_table
from tasks.report.words import Html, format_decimal, format_percent, render_value

COUNTS = ("questions", "missing", "unanswered", "invalid", "stray", "duplicates", "flagged")
SHARES = {"first": "won by the first shown", "inconsistent": "changed with the order"}


def render_suite(suite: dict) -> str:
    if suite["state"] != "done":
        return render_absent(f"No numbers: {render_value(suite['state'])}.")
    columns = list(dict.fromkeys(result["column"] for result in suite["results"]))
    models = list(dict.fromkeys(result["model"] for result in suite["results"]))
    cells = {(result["model"], result["column"]): render_estimate(result) for result in suite["results"]}
    rows = [[model, *(cells.get((model, name), "–") for name in columns)] for model in models]
    kinds = [name for name in COUNTS if any(name in counts for counts in suite["counts"].values())]
    shares = [name for name in SHARES if any(name in counts for counts in suite["counts"].values())]
    count_rows = [model_row(model, suite["counts"][model], kinds, shares) for model in models]
    left_out = f"<p>Left out: {render_value(', '.join(suite['left_out']))}.</p>" if suite.get("left_out") else ""
    return (
        render_table(["Model", *columns], rows, len(columns))
        + "".join(f"<p>{name}: {reason}.</p>" for name, reason in list_obstacles(suite))
        + left_out
        + render_suite_differences(suite)
        + render_calibration(suite)
        + "<h3>Counts behind the numbers</h3>"
        + render_table(["Model", *kinds, *(SHARES[name] for name in shares)], count_rows, len(kinds) + len(shares))
        + render_suite_examples(suite)
    )


def list_obstacles(suite: dict) -> list[tuple[Html, Html]]:
    """Each model without an accuracy, and the reason."""
    found = suite.get("no_accuracy", {}).items()
    return [(render_value(model), render_value(f"no accuracy, because {reason}")) for model, reason in found]


def model_row(model: str, counts: dict, kinds: list[str], shares: list[str]) -> list[str]:
    values = (counts.get(name) for name in shares)
    return [
        model,
        *(format_decimal(counts.get(name)) for name in kinds),
        *("–" if value is None else format_percent(value) for value in values),
    ]


def render_estimate(result: dict, sign: str = "") -> Html:
    digits = 0 if result["metric"] == "length" else 2
    value, low, high = (format_decimal(result[end], digits, sign) for end in ("value", "low", "high"))
    span = f"{low} to {high}"
    return Html(f'{value}<span class="interval">{span}</span>')


def render_suite_differences(suite: dict) -> str:
    claims = [change for change in suite["differences"] if "holm" in change]
    if not claims:
        return ""
    drawn = [(f"{change['to']} {change['metric']}", "wrpo", change) for change in claims]
    show = lambda value: format_decimal(value, 2, "+")
    chart = draw_forest(
        drawn,
        f"difference to {claims[0]['from']} (points)",
        0.0,
        show,
        lambda tick: f"{tick:+g}".replace("-", "−") if tick else "0",
    )
    rows = [
        [change["to"], change["column"], change["reading"], render_estimate(change, "+"), format_p(change)]
        for change in claims
    ]
    heads = ["Model", "Metric", "Reading", "Difference", "Holm p"]
    return render_figure(
        f"Differences to {render_value(claims[0]['from'])} on the same questions.", [chart]
    ) + render_table(heads, rows, 2)


def render_calibration(suite: dict) -> str:
    found = suite.get("calibration")
    if not found:
        return ""
    share = lambda value: format_percent(value) if value is not None else "–"
    rows = [
        [
            name,
            format_decimal(model["items"]),
            share(model["agreement"]),
            format_decimal(model["decided"]),
            share(model["agreement_decided"]),
            format_decimal(model["rank_correlation"], 2),
        ]
        for name, model in found["models"].items()
    ]
    heads = ["Outputs of", "Items", "Agreement", "Decided", "Agreement on these", "Rank correlation"]
    order = (
        f" The two orders of the models have a rank correlation of {format_decimal(found['order'], 2)}."
        if found["order"] is not None
        else ""
    )
    words = f"{render_value(suite['judge'])} compared with the published judge, on the same answers.{order}"
    return f"<h3>Calibration of the judge</h3><p>{words}</p>" + render_table(heads, rows, 5)


def render_suite_examples(suite: dict) -> str:
    if not suite.get("examples"):
        return ""
    shown = "".join(
        f'<div class="example"><dl class="asked"><dt>Prompt</dt>'
        f'<dd class="said" dir="auto">{render_value(example["prompt"])}</dd></dl>'
        f'<div class="answers">{"".join(map(render_suite_answer, example["answers"]))}</div></div>'
        for example in suite["examples"]
    )
    return f"<h3>Answers side by side</h3>{shown}"


def render_suite_answer(given: dict) -> str:
    verdicts = ", ".join(
        "none" if verdict is None else f"{verdict:.3g}" if isinstance(verdict, float) else verdict
        for verdict in given["verdicts"]
    )
    return (
        f'<div class="answer"><h4>{render_value(given["model"])}<span class="verdict">{render_value(verdicts)}</span></h4>'
        f'<p class="said" dir="auto">{render_value(given["text"])}</p></div>'
    )


def format_p(change: dict) -> str:
    return "< 0.001" if change["holm"] < 0.001 else format_decimal(change["holm"], 3)


def render_suites(numbers: dict) -> str:
    """The section with all suites of a run's report."""
    if not numbers["suites"]:
        return render_absent("The recipe has no suites.")
    return "".join(f"<h3>{render_value(suite['name'])}</h3>{render_suite(suite)}" for suite in numbers["suites"])
