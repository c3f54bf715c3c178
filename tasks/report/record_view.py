"""What the stages recorded: counts, costs, sample answers, the recipe and the versions."""

from tasks.report.markup import absent, table
from tasks.report.words import Html, decimal, finite, text


def counts(numbers: dict) -> str:
    if not numbers["counts"]:
        return absent("No counts were left by the stages.")
    of: dict[str, list[str]] = {}
    for one in numbers["counts"]:
        of.setdefault(one["label"], []).append(f"{one['what']} {decimal(one['value'])}")
    return table(["Stage", "Counts"], [[label, " · ".join(found)] for label, found in of.items()], 0)


def costs(numbers: dict) -> str:
    found = numbers["costs"]
    if not found:
        return absent("No costs were recorded.")
    fields = ("rows", "tokens", "seconds")
    totals = {field: sum(one[field] for one in found if finite(one[field])) for field in fields}
    rows = [
        [
            one["label"],
            meter(one["seconds"], max(other["seconds"] or 0 for other in found)),
            decimal(one["rows"]),
            decimal(one["tokens"]),
            duration(one["seconds"]),
        ]
        for one in found
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
        return absent("No examples were left.")
    return "".join(
        f'<div class="example"><dl class="asked">'
        f'<dt>Prompt</dt><dd class="said" dir="auto">{text(one["prompt"])}</dd>'
        f'<dt>Gold</dt><dd class="said" dir="auto">{text(one["gold"])}</dd></dl>'
        f'<div class="answers">{"".join(map(answer, one["answers"]))}</div></div>'
        for one in numbers["examples"]
    )


def answer(one: dict) -> str:
    kind, words = {True: ("right", "✓ correct"), False: ("wrong", "✗ wrong"), None: ("", "not checked")}[one["correct"]]
    return (
        f'<div class="answer"><h4>{text(one["model"])}<span class="verdict {kind}">{words}</span></h4>'
        f'<p class="said" dir="auto">{text(one["text"])}</p></div>'
    )


def recipe(numbers: dict) -> str:
    written = numbers["recipe_text"]
    return f"<pre>{text(written)}</pre>" if written else absent("The recipe was not kept.")


def versions(numbers: dict) -> str:
    if not numbers["versions"]:
        return absent("No versions were recorded.")
    return table(["Of", "Version"], [[name, version] for name, version in numbers["versions"].items()], 0)
