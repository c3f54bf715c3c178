"""The sections with the stages' records: counts, costs, sample answers, the recipe and the versions."""

from tasks.report.markup import absent, table
from tasks.report.words import Html, decimal, finite, text


def counts(numbers: dict) -> str:
    if not numbers["counts"]:
        return absent("The stages recorded no counts.")
    by_stage: dict[str, list[str]] = {}
    for count in numbers["counts"]:
        by_stage.setdefault(count["label"], []).append(f"{count['what']} {decimal(count['value'])}")
    return table(["Stage", "Counts"], [[label, " · ".join(lines)] for label, lines in by_stage.items()], 0)


def costs(numbers: dict) -> str:
    found = numbers["costs"]
    if not found:
        return absent("No costs were recorded.")
    fields = ("rows", "tokens", "seconds")
    totals = {field: sum(cost[field] for cost in found if finite(cost[field])) for field in fields}
    longest = max(cost["seconds"] or 0 for cost in found)
    rows = [
        [
            cost["label"],
            meter(cost["seconds"], longest),
            decimal(cost["rows"]),
            decimal(cost["tokens"]),
            duration(cost["seconds"]),
        ]
        for cost in found
    ]
    foot = ["Total", "", decimal(totals["rows"]), decimal(totals["tokens"]), duration(totals["seconds"])]
    return "<p>Time, rows and tokens that each stage recorded; bars compare the time.</p>" + table(
        ["Stage", "", "Rows", "Tokens", "Time"], rows, 3, foot
    )


def meter(value: float | None, longest: float) -> Html:
    width = value / longest * 100 if finite(value) and longest else 0
    return Html(f'<span class="meter"><i style="width:{width:.1f}%"></i></span>' if width else "")


def duration(seconds: float | None) -> str:
    if not finite(seconds) or seconds < 60:
        return decimal(seconds, 1) + " s" if finite(seconds) else "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def examples(numbers: dict) -> str:
    if not numbers["examples"]:
        return absent("There are no examples.")
    return "".join(
        f'<div class="example"><dl class="asked">'
        f'<dt>Prompt</dt><dd class="said" dir="auto">{text(example["prompt"])}</dd>'
        f'<dt>Gold</dt><dd class="said" dir="auto">{text(example["gold"])}</dd></dl>'
        f'<div class="answers">{"".join(map(answer, example["answers"]))}</div></div>'
        for example in numbers["examples"]
    )


def answer(given: dict) -> str:
    verdicts = {True: ("right", "✓ correct"), False: ("wrong", "✗ wrong"), None: ("", "not checked")}
    kind, words = verdicts[given["correct"]]
    return (
        f'<div class="answer"><h4>{text(given["model"])}<span class="verdict {kind}">{words}</span></h4>'
        f'<p class="said" dir="auto">{text(given["text"])}</p></div>'
    )


def recipe(numbers: dict) -> str:
    written = numbers["recipe_text"]
    return f"<pre>{text(written)}</pre>" if written else absent("The recipe was not kept.")


def versions(numbers: dict) -> str:
    if not numbers["versions"]:
        return absent("No versions were recorded.")
    return table(["Package", "Version"], [[name, version] for name, version in numbers["versions"].items()], 0)
