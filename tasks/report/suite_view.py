"""What one suite found: every model's numbers with their judge and what they stand on, differences, answers side by side."""

from tasks.report.charts import forest
from tasks.report.markup import absent, figure, table
from tasks.report.words import Html, decimal, percent, text

COUNTS = ("questions", "missing", "unanswered", "invalid", "stray", "duplicates", "flagged")
SHARES = {"first": "won by the first shown", "inconsistent": "changed with the order"}


def section(suite: dict) -> str:
    if suite["state"] != "done":
        return absent(f"No numbers: {text(suite['state'])}.")
    columns = list(dict.fromkeys(one["column"] for one in suite["results"]))
    models = list(dict.fromkeys(one["model"] for one in suite["results"]))
    cells = {(one["model"], one["column"]): estimate(one) for one in suite["results"]}
    rows = [[model, *(cells.get((model, name), "–") for name in columns)] for model in models]
    kinds = [name for name in COUNTS if any(name in one for one in suite["counts"].values())]
    shares = [name for name in SHARES if any(name in one for one in suite["counts"].values())]
    stands = [stand(model, suite["counts"][model], kinds, shares) for model in models]
    left_out = f"<p>Left out: {text(', '.join(suite['left_out']))}.</p>" if suite.get("left_out") else ""
    return (
        table(["Model", *columns], rows, len(columns))
        + left_out
        + differences(suite)
        + calibration(suite)
        + "<h3>What the numbers stand on</h3>"
        + table(["Model", *kinds, *map(SHARES.get, shares)], stands, len(kinds) + len(shares))
        + examples(suite)
    )


def stand(model: str, counted: dict, kinds: list[str], shares: list[str]) -> list[str]:
    known = (counted.get(name) for name in shares)
    return [
        model,
        *(decimal(counted.get(name)) for name in kinds),
        *("–" if one is None else percent(one) for one in known),
    ]


def estimate(one: dict, sign: str = "") -> Html:
    digits = 0 if one["metric"] == "length" else 2
    value, low, high = (decimal(one[end], digits, sign) for end in ("value", "low", "high"))
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
            decimal(one["items"]),
            share(one["agreement"]),
            decimal(one["decided"]),
            share(one["agreement_decided"]),
            decimal(one["rank_correlation"], 2),
        ]
        for name, one in found["models"].items()
    ]
    heads = ["Outputs of", "Items", "Agreement", "Decided", "Agreement on these", "Rank correlation"]
    order = (
        f" The models' order has a rank correlation of {decimal(found['order'], 2)}."
        if found["order"] is not None
        else ""
    )
    words = f"{text(suite['judge'])} beside the published judge, on the same answers.{order}"
    return f"<h3>Calibration of the judge</h3><p>{words}</p>" + table(heads, rows, 5)


def examples(suite: dict) -> str:
    if not suite.get("examples"):
        return ""
    shown = "".join(
        f'<div class="example"><dl class="asked"><dt>Prompt</dt><dd class="said" dir="auto">{text(one["prompt"])}</dd></dl>'
        f'<div class="answers">{"".join(map(answer, one["answers"]))}</div></div>'
        for one in suite["examples"]
    )
    return f"<h3>Answers side by side</h3>{shown}"


def answer(one: dict) -> str:
    verdicts = ", ".join(
        "none" if said is None else f"{said:.3g}" if isinstance(said, float) else said for said in one["verdicts"]
    )
    return (
        f'<div class="answer"><h4>{text(one["model"])}<span class="verdict">{text(verdicts)}</span></h4>'
        f'<p class="said" dir="auto">{text(one["text"])}</p></div>'
    )


def p_value(change: dict) -> str:
    return "< 0.001" if change["holm"] < 0.001 else decimal(change["holm"], 3)


def suites(numbers: dict) -> str:
    """All suites of a run's report."""
    if not numbers["suites"]:
        return absent("The recipe names no suites.")
    return "".join(f"<h3>{text(suite['name'])}</h3>{section(suite)}" for suite in numbers["suites"])
