"""The sections with the stages' records: counts, costs, sample answers, the recipe and the versions."""

from tasks.report.markup import render_absent, render_table
from tasks.report.words import Html, format_decimal, is_finite, render_value


def render_counts(numbers: dict) -> str:
    if not numbers["counts"]:
        return render_absent("The stages recorded no counts.")
    by_stage: dict[str, list[str]] = {}
    for count in numbers["counts"]:
        by_stage.setdefault(count["label"], []).append(f"{count['what']} {format_decimal(count['value'])}")
    return render_table(["Stage", "Counts"], [[label, " · ".join(lines)] for label, lines in by_stage.items()], 0)


def render_costs(numbers: dict) -> str:
    found = numbers["costs"]
    if not found:
        return render_absent("No costs were recorded.")
    fields = ("rows", "tokens", "seconds")
    totals = {field: sum(cost[field] for cost in found if is_finite(cost[field])) for field in fields}
    longest = max(cost["seconds"] or 0 for cost in found)
    planned = any(cost.get("estimate") for cost in found)
    rows = [
        [
            cost["label"],
            render_meter(cost["seconds"], longest),
            format_decimal(cost["rows"]),
            format_decimal(cost["tokens"]),
            format_duration(cost["seconds"]),
            *(estimate_cells(cost) if planned else []),
        ]
        for cost in found
    ]
    foot = [
        "Total",
        "",
        format_decimal(totals["rows"]),
        format_decimal(totals["tokens"]),
        format_duration(totals["seconds"]),
        *(["", ""] if planned else []),
    ]
    about = "Time, rows and tokens that each stage recorded; bars compare the time."
    if planned:
        about += " Estimate: the time that the plan expected before the run (p50 and p90), and the recorded time divided by p50."
    heads = ["Stage", "", "Rows", "Tokens", "Time", *(["Estimate", "Time / p50"] if planned else [])]
    return f"<p>{about}</p>" + render_table(heads, rows, len(heads) - 2, foot)


def estimate_cells(cost: dict) -> list:
    if not (estimate := cost.get("estimate")):
        return ["–", "–"]
    span = f"{format_duration(estimate['p50'])}, {format_duration(estimate['p90'])}"
    ratio = cost["seconds"] / estimate["p50"] if estimate["p50"] and is_finite(cost["seconds"]) else None
    return [span, format_decimal(ratio, 2)]


def render_meter(value: float | None, longest: float) -> Html:
    width = value / longest * 100 if is_finite(value) and longest else 0
    return Html(f'<span class="meter"><i style="width:{width:.1f}%"></i></span>' if width else "")


def format_duration(seconds: float | None) -> str:
    if not is_finite(seconds) or seconds < 60:
        return format_decimal(seconds, 1) + " s" if is_finite(seconds) else "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def render_examples(numbers: dict) -> str:
    if not numbers["examples"]:
        return render_absent("There are no examples.")
    return "".join(
        f'<div class="example"><dl class="asked">'
        f'<dt>Prompt</dt><dd class="said" dir="auto">{render_value(example["prompt"])}</dd>'
        f'<dt>Gold</dt><dd class="said" dir="auto">{render_value(example["gold"])}</dd></dl>'
        f'<div class="answers">{"".join(map(render_answer, example["answers"]))}</div></div>'
        for example in numbers["examples"]
    )


def render_answer(given: dict) -> str:
    verdicts = {True: ("right", "✓ correct"), False: ("wrong", "✗ wrong"), None: ("", "not checked")}
    kind, words = verdicts[given["correct"]]
    return (
        f'<div class="answer"><h4>{render_value(given["model"])}<span class="verdict {kind}">{words}</span></h4>'
        f'<p class="said" dir="auto">{render_value(given["text"])}</p></div>'
    )


def render_recipe(numbers: dict) -> str:
    written = numbers["recipe_text"]
    return f"<pre>{render_value(written)}</pre>" if written else render_absent("The recipe was not kept.")


def render_versions(numbers: dict) -> str:
    if not numbers["versions"]:
        return render_absent("No versions were recorded.")
    return render_table(["Package", "Version"], [[name, version] for name, version in numbers["versions"].items()], 0)
