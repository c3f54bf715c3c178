"""The page of a matrix: every variant's numbers, its difference to the base, and the p-value. A missing number is not zero."""

from collections.abc import Callable

from tasks.report.charts import draw_curves, draw_forest
from tasks.report.document import render_document
from tasks.report.estimates import format_points, render_rate
from tasks.report.markup import render_figure, render_table
from tasks.report.suite_view import render_estimate
from tasks.report.words import Html, format_decimal, render_value

TONES = ("wrpo", "source", "sft", "target")
FULL = "full"  # the base's row
READINGS = {"higher": "better", "lower": "worse", "within noise": "same"}
SIGNED = lambda value: f"{value:+g}".replace("-", "−") if value else "0"


def render_matrix_page(matrix: dict) -> str:
    shown = [column for column in matrix["columns"] if is_shown(matrix, column)]
    sections: list[tuple[str, str, str]] = [
        (
            column["key"].replace(" ", "-"),
            render_value(first_large(column, "title")),
            render_matrix_differences(matrix, column),
        )
        for column in shown
    ]
    if any(row["swept"] for row in matrix["rows"]):
        sections.append(("sweeps", "Sweeps", render_sweeps(matrix)))
    return render_document(
        f"Matrix: {render_value(matrix['name'])}",
        render_matrix_headline(matrix),
        [*sections, ("variants", "Variants", render_variants(matrix))],
    )


def first_large(column: dict, name: str) -> str:
    """Capitalises the recipe's metrics; names of suites and their metrics keep their authors' spelling."""
    return column[name].capitalize() if column["scale"] == "share" else column[name]


def is_shown(matrix: dict, column: dict) -> bool:
    """Leaves out a metric that no variant has, unless a variant gives a reason why it has no accuracy."""
    obstacles = [row["no_accuracy"] for row in matrix["rows"] if column["key"] == "accuracy"]
    return column["scale"] == "points" or any(cells_of(matrix, column)) or any(obstacles)


def cells_of(matrix: dict, column: dict) -> list[dict | None]:
    return [row["metrics"][column["key"]] for row in matrix["rows"]]


def render_sweeps(matrix: dict) -> str:
    """The paper's Figures 5 and 6: every metric along an axis, a line per sweep. A variant without numbers leaves a gap."""
    figures = []
    for axis in dict.fromkeys(row["swept"]["axis"] for row in matrix["rows"] if row["swept"]):
        rows = [row for row in matrix["rows"] if row["swept"] and row["swept"]["axis"] == axis]
        names = list(dict.fromkeys(row["swept"]["sweep"] for row in rows))
        series = [(name, name, TONES[place % len(TONES)]) for place, name in enumerate(names)]
        charts = [
            draw_curves(
                points_along_axis(rows, lambda row, column=column: point_height(row, column)),
                series,
                f"{column['title']} (%)" if column["scale"] == "share" else f"{column['title']}, {column['measure']}",
                over=axis,
            )
            for column in matrix["columns"]
        ]
        accuracy = points_along_axis(rows, lambda row: row["reward_accuracy"])
        charts.append(draw_curves(accuracy, series, "sources' best ahead of own worst, end of training", over=axis))
        caption = (
            f"The final model along {render_value(axis)}, a line per sweep; a variant that was not run, or failed, leaves a "
            "gap. The intervals are in the tables: lines that are closer than these do not differ. The last chart is on "
            "training pairs."
        )
        figures.append(render_figure(caption, charts))
    return "".join(figures)


def points_along_axis(rows: list[dict], read: Callable[[dict], float | None]) -> list[dict]:
    places = sorted({row["swept"]["at"] for row in rows})
    found = {(row["swept"]["at"], row["swept"]["sweep"]): read(row) for row in rows}
    names = {row["swept"]["sweep"] for row in rows}
    return [{"step": at, **{name: found.get((at, name)) for name in names}} for at in places]


def point_height(row: dict, column: dict) -> float | None:
    found = row["metrics"][column["key"]]
    return found["estimate"]["value"] * (100 if column["scale"] == "share" else 1) if found else None


def render_matrix_headline(matrix: dict) -> str:
    states = [row["state"] for row in matrix["rows"]]
    done = states.count("done")
    rest = "" if done == len(states) else f", {len(states) - done} without numbers (not run, or failed)"
    return (
        f'<header><h1>Matrix: {render_value(matrix["name"])}</h1><p class="lead">Variants of {render_value(matrix["base"])}, '
        f"each compared with the base on the same held-out prompts: {done} of {len(states)} evaluated{rest}.</p>"
        f'<p class="meta"><b>{matrix["confidence"] * 100:g} %</b> intervals by bootstrap over prompts · p of McNemar\'s '
        "test (accuracy) or of sign flips (win rate), for a suite of the test in its results, adjusted by Holm over all "
        "comparisons of the matrix · a difference "
        "whose interval includes 0, or whose adjusted p is too large, is called within noise</p></header>"
    )


def render_matrix_differences(matrix: dict, column: dict) -> str:
    share, title = column["scale"] == "share", first_large(column, "measure")
    drawn = [
        (row["variant"], "wrpo", (row["metrics"][column["key"]] or {}).get("difference"))
        for row in matrix["rows"][1:]
        if render_state(row, column) == "done"
    ]
    show, tick = (format_points, lambda at: SIGNED(at * 100)) if share else (format_signed, SIGNED)
    chart = draw_forest(
        drawn, f"change of {column['measure']} ({'percentage ' if share else ''}points)", 0.0, show, tick
    )
    heads = ["Variant", "Expected", "Reading", title, "Δ to full", "Holm p"]
    caption = f"{render_value(title)} of each variant's final model minus that of the base, by variant."
    return (render_figure(caption, [chart]) if drawn else "") + render_table(
        heads, [variant_cells(row, column) for row in matrix["rows"]], 3
    )


def render_state(row: dict, column: dict) -> str:
    return row["states"].get(column["key"], row["state"])


def format_signed(value: float | None) -> str:
    return format_decimal(value, 2, "+")


def variant_cells(row: dict, column: dict) -> list:
    found, show = row["metrics"][column["key"]], render_rate if column["scale"] == "share" else of_suite
    if render_state(row, column) != "done":
        return [row["variant"], row["expects"], render_state(row, column), "", "", ""]
    if not found:
        return [row["variant"], "", (row["no_accuracy"] if column["key"] == "accuracy" else "") or "", "–", "", ""]
    change = found["difference"]
    if change is None:
        reason = "" if row["variant"] == FULL else found.get("alone", "nothing to compare with")
        return [row["variant"], row["expects"] if reason else "", reason, show(found["estimate"]), "", ""]
    difference = in_points(found) if column["scale"] == "share" else of_suite(change, "+")
    return [
        row["variant"],
        row["expects"],
        describe_reading(row, change),
        show(found["estimate"]),
        difference,
        format_holm_p(change),
    ]


def of_suite(numbers: dict, sign: str = "") -> Html:
    return render_estimate({**numbers, "metric": ""}, sign)


def describe_reading(row: dict, found: dict) -> str:
    """The verdict on a difference, and whether it agrees with the hypothesis."""
    agrees = READINGS[found["reading"]] == row["expects"]
    if row["expects"] == "unknown" or (found["reading"] == "within noise" and not agrees):
        return found["reading"]  # a difference within noise does not refute a hypothesis
    return f"{found['reading']}, {'as' if agrees else 'not as'} expected"


def in_points(found: dict) -> Html:
    change = found["difference"]
    span = f"{format_points(change['low']).removesuffix(' pp')} to {format_points(change['high'])}"
    if change["prompts"] < found["known"]:
        span += f", on {change['prompts']} of {found['known']} prompts"
    return Html(f'{format_points(change["value"])}<span class="interval">{span}</span>')


def format_holm_p(found: dict) -> str:
    return "< 0.001" if found["holm"] < 0.001 else f"{found['holm']:.3f}"


def render_variants(matrix: dict) -> str:
    rows = [
        [row["variant"], row["hypothesis"], " · ".join(row["changes"]) or "nothing", row["report"][:19]]
        for row in matrix["rows"]
    ]
    return render_table(["Variant", "Hypothesis", "Changes", "Report"], rows, 0)
