"""The page of an examination: every suite's numbers with their judge and what they stand on, differences, the gate."""

from tasks.report.charts import Html, decimal, forest, percent, text
from tasks.report.page import absent, document, figure, table

COUNTS = ("questions", "missing", "unanswered", "invalid", "stray", "duplicates", "flagged")


def render(found: dict) -> str:
    sections = [(f"suite-{place}", text(suite["name"]), section(suite)) for place, suite in enumerate(found["suites"])]
    if found["averages"] and len(found["suites"]) > 1:
        sections.append(("average", "Average", average(found)))
    return document(f"Evaluation: {text(found['name'])}", headline(found), sections)


def headline(found: dict) -> str:
    first, *others = found["models"]
    compared = f", compared with {text(first)}" if others else ""
    return (
        f'<header><h1>Evaluation: {text(found["name"])}</h1><p class="lead">{len(found["models"])} models on '
        f"{len(found['suites'])} suites{compared}. {gate(found['gate'])}</p>"
        '<p class="meta">Intervals by bootstrap over questions, paired for differences and with the length model fitted '
        "anew · p adjusted by Holm within a suite · <b>a number bears its judge</b>: those of two judges are not comparable"
        "</p></header>"
    )


def gate(found: dict | None) -> str:
    if found is None:
        return "No gate was set."
    return "The gate is passed." if found["passed"] else f"The gate is not passed: {text('; '.join(found['against']))}."


def section(suite: dict) -> str:
    if suite["state"] != "done":
        return absent(f"No numbers: {text(suite['state'])}.")
    columns = list(dict.fromkeys(one["column"] for one in suite["results"]))
    models = list(dict.fromkeys(one["model"] for one in suite["results"]))
    cells = {(one["model"], one["column"]): estimate(one) for one in suite["results"]}
    rows = [[model, *(cells.get((model, name), "–") for name in columns)] for model in models]
    kinds = [name for name in COUNTS if any(name in one for one in suite["counts"].values())]
    stands = [[model, *(decimal(suite["counts"][model].get(name)) for name in kinds)] for model in models]
    return (
        table(["Model", *columns], rows, len(columns))
        + differences(suite)
        + calibration(suite)
        + "<h3>What the numbers stand on</h3>"
        + table(["Model", *kinds], stands, len(kinds))
        + examples(suite)
    )


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


def average(found: dict) -> str:
    rows = [[model, decimal(value, 1)] for model, value in found["averages"].items()]
    words = "Mean over the suites' main metrics, every one in percent of its full marks: 8.1 of 10 counts 81."
    return f"<p>{words}</p>" + table(["Model", "Average"], rows, 1)
