"""The results of one suite: every model's numbers with their judge and counts, differences, answers side by side."""

from tasks.report.charts import forest
from tasks.report.markup import absent, figure, table
from tasks.report.words import Html, decimal, percent, text

COUNTS = ("questions", "missing", "unanswered", "invalid", "stray", "duplicates", "flagged")
SHARES = {"first": "won by the first shown", "inconsistent": "changed with the order"}


def section(suite: dict) -> str:
    if suite["state"] != "done":
        return absent(f"No numbers: {text(suite['state'])}.")
    columns = list(dict.fromkeys(result["column"] for result in suite["results"]))
    models = list(dict.fromkeys(result["model"] for result in suite["results"]))
    cells = {(result["model"], result["column"]): estimate(result) for result in suite["results"]}
    rows = [[model, *(cells.get((model, name), "–") for name in columns)] for model in models]
    kinds = [name for name in COUNTS if any(name in counts for counts in suite["counts"].values())]
    shares = [name for name in SHARES if any(name in counts for counts in suite["counts"].values())]
    count_rows = [stand(model, suite["counts"][model], kinds, shares) for model in models]
    left_out = f"<p>Left out: {text(', '.join(suite['left_out']))}.</p>" if suite.get("left_out") else ""
    return (
        table(["Model", *columns], rows, len(columns))
        + left_out
        + differences(suite)
        + calibration(suite)
        + "<h3>Counts behind the numbers</h3>"
        + table(["Model", *kinds, *map(SHARES.get, shares)], count_rows, len(kinds) + len(shares))
        + examples(suite)
    )


def stand(model: str, counts: dict, kinds: list[str], shares: list[str]) -> list[str]:
    values = (counts.get(name) for name in shares)
    return [
        model,
        *(decimal(counts.get(name)) for name in kinds),
        *("–" if value is None else percent(value) for value in values),
    ]


def estimate(result: dict, sign: str = "") -> Html:
    digits = 0 if result["metric"] == "length" else 2
    value, low, high = (decimal(result[end], digits, sign) for end in ("value", "low", "high"))
    span = f"{low} to {high}"
    return Html(f'{value}<span class="interval">{span}</span>')


def differences(suite: dict) -> str:
    claims = [change for change in suite["differences"] if "holm" in change]
    if not claims:
        return ""
    drawn = [(f"{change['to']} {change['metric']}", "wrpo", change) for change in claims]
    show = lambda value: decimal(value, 2, "+")
    chart = forest(
        drawn,
        f"difference to {claims[0]['from']} (points)",
        0.0,
        show,
        lambda tick: f"{tick:+g}".replace("-", "−") if tick else "0",
    )
    rows = [
        [change["to"], change["column"], change["reading"], estimate(change, "+"), p_value(change)] for change in claims
    ]
    heads = ["Model", "Metric", "Reading", "Difference", "Holm p"]
    return figure(f"Differences to {text(claims[0]['from'])} on the same questions.", [chart]) + table(heads, rows, 2)


def calibration(suite: dict) -> str:
    found = suite.get("calibration")
    if not found:
        return ""
    share = lambda value: percent(value) if value is not None else "–"
    rows = [
        [
            name,
            decimal(model["items"]),
            share(model["agreement"]),
            decimal(model["decided"]),
            share(model["agreement_decided"]),
            decimal(model["rank_correlation"], 2),
        ]
        for name, model in found["models"].items()
    ]
    heads = ["Outputs of", "Items", "Agreement", "Decided", "Agreement on these", "Rank correlation"]
    order = (
        f" The two orders of the models have a rank correlation of {decimal(found['order'], 2)}."
        if found["order"] is not None
        else ""
    )
    words = f"{text(suite['judge'])} compared with the published judge, on the same answers.{order}"
    return f"<h3>Calibration of the judge</h3><p>{words}</p>" + table(heads, rows, 5)


def examples(suite: dict) -> str:
    if not suite.get("examples"):
        return ""
    shown = "".join(
        f'<div class="example"><dl class="asked"><dt>Prompt</dt>'
        f'<dd class="said" dir="auto">{text(example["prompt"])}</dd></dl>'
        f'<div class="answers">{"".join(map(answer, example["answers"]))}</div></div>'
        for example in suite["examples"]
    )
    return f"<h3>Answers side by side</h3>{shown}"


def answer(given: dict) -> str:
    verdicts = ", ".join(
        "none" if verdict is None else f"{verdict:.3g}" if isinstance(verdict, float) else verdict
        for verdict in given["verdicts"]
    )
    return (
        f'<div class="answer"><h4>{text(given["model"])}<span class="verdict">{text(verdicts)}</span></h4>'
        f'<p class="said" dir="auto">{text(given["text"])}</p></div>'
    )


def p_value(change: dict) -> str:
    return "< 0.001" if change["holm"] < 0.001 else decimal(change["holm"], 3)


def suites(numbers: dict) -> str:
    """The section with all suites of a run's report."""
    if not numbers["suites"]:
        return absent("The recipe has no suites.")
    return "".join(f"<h3>{text(suite['name'])}</h3>{section(suite)}" for suite in numbers["suites"])
