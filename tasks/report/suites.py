"""The page of an examination: its suites, their average, the gate."""

from tasks.report.document import document
from tasks.report.markup import table
from tasks.report.suite_view import section
from tasks.report.words import decimal, text


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
        "again for each draw · p adjusted by Holm within a suite · <b>a number belongs to its judge</b>: numbers of "
        "different judges cannot be compared</p></header>"
    )


def gate(found: dict | None) -> str:
    if found is None:
        return "No gate was set."
    return "The gate is passed." if found["passed"] else f"The gate is not passed: {text('; '.join(found['against']))}."


def average(found: dict) -> str:
    rows = [[model, decimal(value, 1)] for model, value in found["averages"].items()]
    words = "Mean over the suites' main metrics, each in percent of its full marks: 8.1 of 10 counts as 81."
    return f"<p>{words}</p>" + table(["Model", "Average"], rows, 1)
