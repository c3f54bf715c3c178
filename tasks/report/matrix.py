"""The page of a matrix: every variant's numbers, its difference to the base, and how sure that is. No number, no nought."""

from collections.abc import Callable

from tasks.report.charts import curves, forest
from tasks.report.document import document
from tasks.report.estimates import METRICS, points, rate
from tasks.report.markup import figure, table
from tasks.report.words import Html, text

TONES = ("wrpo", "source", "sft", "target")
FULL = "full"  # the base's row
READINGS = {"higher": "better", "lower": "worse", "within noise": "same"}


def render(matrix: dict) -> str:
    known = [metric for metric in METRICS if any(row["metrics"][metric] for row in matrix["rows"])]
    sections = [(metric, METRICS[metric].capitalize(), differences(matrix, metric)) for metric in known]
    if any(row["swept"] for row in matrix["rows"]):
        sections.append(("sweeps", "Sweeps", sweeps(matrix)))
    return document(
        f"Matrix: {text(matrix['name'])}", headline(matrix), [*sections, ("variants", "Variants", variants(matrix))]
    )


def sweeps(matrix: dict) -> str:
    """The paper's Figures 5 and 6: every metric along an axis, a line per sweep. A variant without numbers leaves a gap."""
    figures = []
    for axis in dict.fromkeys(row["swept"]["axis"] for row in matrix["rows"] if row["swept"]):
        rows = [row for row in matrix["rows"] if row["swept"] and row["swept"]["axis"] == axis]
        names = list(dict.fromkeys(row["swept"]["sweep"] for row in rows))
        series = [(name, name, TONES[place % len(TONES)]) for place, name in enumerate(names)]
        charts = [
            curves(
                along(rows, lambda row, metric=metric: height(row, metric)), series, f"{METRICS[metric]} (%)", over=axis
            )
            for metric in METRICS
        ]
        accuracy = along(rows, lambda row: row["reward_accuracy"])
        charts.append(curves(accuracy, series, "sources' best ahead of own worst, end of training", over=axis))
        caption = (
            f"The last model along {text(axis)}, a line per sweep; what was not run, or failed, is a gap. The intervals stand "
            "in the tables: lines closer than these do not differ. The last chart is on training pairs."
        )
        figures.append(figure(caption, charts))
    return "".join(figures)


def along(rows: list[dict], read: Callable[[dict], float | None]) -> list[dict]:
    places = sorted({row["swept"]["at"] for row in rows})
    found = {(row["swept"]["at"], row["swept"]["sweep"]): read(row) for row in rows}
    names = {row["swept"]["sweep"] for row in rows}
    return [{"step": at, **{name: found.get((at, name)) for name in names}} for at in places]


def height(row: dict, metric: str) -> float | None:
    found = row["metrics"][metric]
    return 100 * found["estimate"]["value"] if found else None


def headline(matrix: dict) -> str:
    states = [row["state"] for row in matrix["rows"]]
    done = states.count("done")
    rest = "" if done == len(states) else f", {len(states) - done} without numbers: not run, or failed"
    return (
        f'<header><h1>Matrix: {text(matrix["name"])}</h1><p class="lead">Variants of {text(matrix["base"])}, each '
        f"compared with the base on the same held-out prompts: {done} of {len(states)} evaluated{rest}.</p>"
        f'<p class="meta"><b>{matrix["confidence"] * 100:g} %</b> intervals by bootstrap over prompts · p of McNemar\'s '
        "test (accuracy) or of sign flips (win rate), adjusted by Holm over all comparisons of the matrix · a difference "
        "whose interval includes 0, or whose adjusted p is too large, is called within noise</p></header>"
    )


def differences(matrix: dict, metric: str) -> str:
    drawn = [
        (row["variant"], "wrpo", (row["metrics"][metric] or {}).get("difference"))
        for row in matrix["rows"][1:]
        if row["state"] == "done"
    ]
    title = f"change of {METRICS[metric]} (percentage points)"
    chart = forest(drawn, title, 0.0, points, lambda tick: f"{tick * 100:+g}".replace("-", "−") if tick else "0")
    rows = [cells(row, metric) for row in matrix["rows"]]
    heads = ["Variant", "Expected", "Reading", METRICS[metric].capitalize(), "Δ to full", "Holm p"]
    caption = f"{METRICS[metric].capitalize()} of each variant's last model less that of the base, by variant."
    return (figure(caption, [chart]) if drawn else "") + table(heads, rows, 3)


def cells(row: dict, metric: str) -> list:
    found = row["metrics"][metric]
    if row["state"] != "done":
        return [row["variant"], row["expects"], row["state"], "", "", ""]
    if not found:
        return [row["variant"], "", "", "–", "", ""]
    if found["p"] is None:
        alone = "" if row["variant"] == FULL else "nothing to compare with"
        return [row["variant"], row["expects"] if alone else "", alone, rate(found["estimate"]), "", ""]
    return [row["variant"], row["expects"], reading(row, found), rate(found["estimate"]), change(found), p_value(found)]


def reading(row: dict, found: dict) -> str:
    """What was found, and whether that is what was said beforehand."""
    agrees = READINGS[found["reading"]] == row["expects"]
    if row["expects"] == "unknown" or (found["reading"] == "within noise" and not agrees):
        return found["reading"]  # nothing was found, nothing is refuted
    return f"{found['reading']}, {'as' if agrees else 'not as'} expected"


def change(found: dict) -> Html:
    one = found["difference"]
    span = f"{points(one['low']).removesuffix(' pp')} to {points(one['high'])}"
    if found["prompts"] < found["known"]:
        span += f", on {found['prompts']} of {found['known']} prompts"
    return Html(f'{points(one["value"])}<span class="interval">{span}</span>')


def p_value(found: dict) -> str:
    return "< 0.001" if found["holm"] < 0.001 else f"{found['holm']:.3f}"


def variants(matrix: dict) -> str:
    rows = [
        [row["variant"], row["hypothesis"], " · ".join(row["changes"]) or "nothing", row["report"][:19]]
        for row in matrix["rows"]
    ]
    return table(["Variant", "Hypothesis", "What it changes", "Report"], rows, 0)
