"""The page of an examination: its suites, their average, the gate."""

from tasks.report.document import render_document
from tasks.report.markup import render_table
from tasks.report.suite_view import render_suite
from tasks.report.words import format_decimal, render_value


def render_examination_page(found: dict) -> str:
    sections: list[tuple[str, str, str]] = [
        (f"suite-{place}", render_value(suite["name"]), render_suite(suite))
        for place, suite in enumerate(found["suites"])
    ]
    if found["averages"] and len(found["suites"]) > 1:
        sections.append(("average", "Average", render_average(found)))
    return render_document(f"Evaluation: {render_value(found['name'])}", render_examination_headline(found), sections)


def render_examination_headline(found: dict) -> str:
    first, *others = found["models"]
    compared = f", compared with {render_value(first)}" if others else ""
    return (
        f'<header><h1>Evaluation: {render_value(found["name"])}</h1><p class="lead">{len(found["models"])} models on '
        f"{len(found['suites'])} suites{compared}. {render_gate(found['gate'])}</p>"
        '<p class="meta">Intervals by bootstrap over questions, paired for differences and with the length model fitted '
        "again for each draw · p adjusted by Holm within a suite · <b>a number belongs to its judge</b>: numbers of "
        "different judges cannot be compared</p></header>"
    )


def render_gate(found: dict | None) -> str:
    if found is None:
        return "No gate was set."
    return (
        "The gate is passed."
        if found["passed"]
        else f"The gate is not passed: {render_value('; '.join(found['against']))}."
    )


def render_average(found: dict) -> str:
    rows = [[model, format_decimal(value, 1)] for model, value in found["averages"].items()]
    words = "Mean over the suites' main metrics, each in percent of its full marks: 8.1 of 10 counts as 81."
    return f"<p>{words}</p>" + render_table(["Model", "Average"], rows, 1)
