"""The page of a matrix: every variant's numbers, its difference to the base, and how sure that is. No number, no nought."""

from collections.abc import Callable

from tasks.report.charts import curves, forest
from tasks.report.document import document
from tasks.report.estimates import points, rate
from tasks.report.markup import figure, table
from tasks.report.suite_view import estimate
from tasks.report.words import Html, decimal, text

TONES = ("wrpo", "source", "sft", "target")
FULL = "full"  # the base's row
READINGS = {"higher": "better", "lower": "worse", "within noise": "same"}
SIGNED = lambda value: f"{value:+g}".replace("-", "−") if value else "0"


def render(matrix: dict) -> str:
    known = [one for one in matrix["columns"] if is_shown(matrix, one)]
    sections = [
        (one["key"].replace(" ", "-"), text(first_large(one, "title")), differences(matrix, one)) for one in known
    ]
    if any(row["swept"] for row in matrix["rows"]):
        sections.append(("sweeps", "Sweeps", sweeps(matrix)))
    return document(
        f"Matrix: {text(matrix['name'])}", headline(matrix), [*sections, ("variants", "Variants", variants(matrix))]
    )


def first_large(column: dict, name: str) -> str:
    """A suite, and what it measures, are spelled as their authors do."""
    return column[name].capitalize() if column["scale"] == "share" else column[name]


def is_shown(matrix: dict, column: dict) -> bool:
    """A metric that no variant has is left out, unless a variant says why it has none."""
    obstacles = [row["no_accuracy"] for row in matrix["rows"] if column["key"] == "accuracy"]
    return column["scale"] == "points" or any(cells_of(matrix, column)) or any(obstacles)


def cells_of(matrix: dict, column: dict) -> list[dict | None]:
    return [row["metrics"][column["key"]] for row in matrix["rows"]]


def sweeps(matrix: dict) -> str:
    """The paper's Figures 5 and 6: every metric along an axis, a line per sweep. A variant without numbers leaves a gap."""
    figures = []
    for axis in dict.fromkeys(row["swept"]["axis"] for row in matrix["rows"] if row["swept"]):
        rows = [row for row in matrix["rows"] if row["swept"] and row["swept"]["axis"] == axis]
        names = list(dict.fromkeys(row["swept"]["sweep"] for row in rows))
        series = [(name, name, TONES[place % len(TONES)]) for place, name in enumerate(names)]
        charts = [
            curves(
                along(rows, lambda row, one=one: height(row, one)),
                series,
                f"{one['title']} (%)" if one["scale"] == "share" else f"{one['title']}, {one['measure']}",
                over=axis,
            )
            for one in matrix["columns"]
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


def height(row: dict, column: dict) -> float | None:
    found = row["metrics"][column["key"]]
    return found["estimate"]["value"] * (100 if column["scale"] == "share" else 1) if found else None


def headline(matrix: dict) -> str:
    states = [row["state"] for row in matrix["rows"]]
    done = states.count("done")
    rest = "" if done == len(states) else f", {len(states) - done} without numbers: not run, or failed"
    return (
        f'<header><h1>Matrix: {text(matrix["name"])}</h1><p class="lead">Variants of {text(matrix["base"])}, each '
        f"compared with the base on the same held-out prompts: {done} of {len(states)} evaluated{rest}.</p>"
        f'<p class="meta"><b>{matrix["confidence"] * 100:g} %</b> intervals by bootstrap over prompts · p of McNemar\'s '
        "test (accuracy) or of sign flips (win rate), of a suite as in its own results, adjusted by Holm over all comparisons "
        "of the matrix · a difference "
        "whose interval includes 0, or whose adjusted p is too large, is called within noise</p></header>"
    )


def differences(matrix: dict, column: dict) -> str:
    share, title = column["scale"] == "share", first_large(column, "measure")
    drawn = [
        (row["variant"], "wrpo", (row["metrics"][column["key"]] or {}).get("difference"))
        for row in matrix["rows"][1:]
        if state(row, column) == "done"
    ]
    show, tick = (points, lambda at: SIGNED(at * 100)) if share else (signed, SIGNED)
    chart = forest(drawn, f"change of {column['measure']} ({'percentage ' if share else ''}points)", 0.0, show, tick)
    heads = ["Variant", "Expected", "Reading", title, "Δ to full", "Holm p"]
    caption = f"{text(title)} of each variant's last model less that of the base, by variant."
    return (figure(caption, [chart]) if drawn else "") + table(heads, [cells(row, column) for row in matrix["rows"]], 3)


def state(row: dict, column: dict) -> str:
    return row["states"].get(column["key"], row["state"])


def signed(value: float | None) -> str:
    return decimal(value, 2, "+")


def cells(row: dict, column: dict) -> list:
    found, known = row["metrics"][column["key"]], rate if column["scale"] == "share" else of_suite
    if state(row, column) != "done":
        return [row["variant"], row["expects"], state(row, column), "", "", ""]
    if not found:
        return [row["variant"], "", (row["no_accuracy"] if column["key"] == "accuracy" else "") or "", "–", "", ""]
    change = found["difference"]
    if change is None:
        alone = "" if row["variant"] == FULL else found.get("alone", "nothing to compare with")
        return [row["variant"], row["expects"] if alone else "", alone, known(found["estimate"]), "", ""]
    said = [row["variant"], row["expects"], reading(row, change), known(found["estimate"])]
    return [*said, in_points(found) if column["scale"] == "share" else of_suite(change, "+"), p_value(change)]


def of_suite(one: dict, sign: str = "") -> Html:
    return estimate({**one, "metric": ""}, sign)


def reading(row: dict, found: dict) -> str:
    """What was found, and whether that is what was said beforehand."""
    agrees = READINGS[found["reading"]] == row["expects"]
    if row["expects"] == "unknown" or (found["reading"] == "within noise" and not agrees):
        return found["reading"]  # nothing was found, nothing is refuted
    return f"{found['reading']}, {'as' if agrees else 'not as'} expected"


def in_points(found: dict) -> Html:
    one = found["difference"]
    span = f"{points(one['low']).removesuffix(' pp')} to {points(one['high'])}"
    if one["prompts"] < found["known"]:
        span += f", on {one['prompts']} of {found['known']} prompts"
    return Html(f'{points(one["value"])}<span class="interval">{span}</span>')


def p_value(found: dict) -> str:
    return "< 0.001" if found["holm"] < 0.001 else f"{found['holm']:.3f}"


def variants(matrix: dict) -> str:
    rows = [
        [row["variant"], row["hypothesis"], " · ".join(row["changes"]) or "nothing", row["report"][:19]]
        for row in matrix["rows"]
    ]
    return table(["Variant", "Hypothesis", "What it changes", "Report"], rows, 0)
