"""Results of suites on the terminal: a table per suite, differences with p-values, and the judge's calibration."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show_suites(console: Console, suites: Sequence[dict], models: Sequence[str]) -> None:
    for suite in suites:
        if suite["state"] != "done":
            console.print(f"{suite['name']}: {suite['state']}", markup=False)
            continue
        table = Table(title=suite["name"], title_justify="left", box=None, pad_edge=False, header_style="bold")
        table.add_column("model")
        columns = list(dict.fromkeys(result["column"] for result in suite["results"]))
        for name in (*columns, "flagged", "missing"):
            table.add_column(escape(name), justify="right", no_wrap=True)
        for model in models:
            cells = {result["column"]: format_span(result) for result in suite["results"] if result["model"] == model}
            counts = suite["counts"][model]
            table.add_row(
                model, *(cells.get(name, "–") for name in columns), f"{counts['flagged']}", f"{counts['missing']}"
            )
        console.print(table)
        for model, reason in suite.get("no_accuracy", {}).items():
            console.print(f"  {model}: no accuracy, because {reason}", markup=False)
        if suite.get("left_out"):
            console.print(f"  left out: {', '.join(suite['left_out'])}", markup=False)
        for change in suite["differences"]:
            console.print("  " + describe_difference(change), markup=False)
        for line in [*describe_place_bias(suite), *describe_calibration(suite)]:
            console.print("  " + line, markup=False)


def format_span(result: dict) -> str:
    return f"{result['value']:.2f} \\[{result['low']:.2f}, {result['high']:.2f}]"


def describe_place_bias(suite: dict) -> list[str]:
    """How often the order of two answers decided the judge's verdict."""
    return [
        f"{suite['judge']} on {model}: {counts['first']:.0%} of the verdicts chose the answer shown first"
        + (
            f", {counts['inconsistent']:.0%} of the winners changed with the order"
            if counts["inconsistent"] is not None
            else ""
        )
        for model, counts in suite["counts"].items()
        if counts.get("first") is not None
    ]


def describe_calibration(suite: dict) -> list[str]:
    """How often the judge agrees with the published judge on outputs that came with published verdicts."""
    found = suite.get("calibration") or {"models": {}, "order": None}
    lines = [
        f"{suite['judge']} and the published judge agree on {one['agreement']:.1%} of {one['items']} answers of {name}"
        + (f", on {one['agreement_decided']:.1%} of the {one['decided']} decided" if one["decided"] else "")
        for name, one in found["models"].items()
    ]
    return lines + (
        [f"order of the models: rank correlation {found['order']:.2f}"] if found["order"] is not None else []
    )


def describe_difference(change: dict) -> str:
    sure = f", Holm p {change['holm']:.3f}" if "holm" in change else ""
    noise = " (within noise)" if change.get("reading") == "within noise" else ""
    return (
        f"{change['from']} → {change['to']}: {change['column']} {change['value']:+.2f} "
        f"[{change['low']:+.2f}, {change['high']:+.2f}]{sure}{noise}"
    )
