"""The cells of a matrix as text: the value of a variant, its difference to the base, and the p-value."""

from collections.abc import Callable

VALUES: dict[str, Callable[[float], str]] = {
    "share": lambda value: f"{value:.1%}",
    "points": lambda value: f"{value:.2f}",
}
DIFFERENCES: dict[str, Callable[[float], str]] = {
    "share": lambda value: f"{100 * value:+.1f}",
    "points": lambda value: f"{value:+.2f}",
}


def column_title(column: dict) -> str:
    return column["title"] if column["scale"] == "share" else f"{column['title']} {column['measure']}"


def matrix_cells(row: dict, column: dict) -> list[str]:
    """The cell's value, difference with interval, and p-value."""
    found, state = row["metrics"][column["key"]], row["states"].get(column["key"], row["state"])
    if state != "done":
        return [state, "", ""]
    if found is None:
        return ["–", "", ""]
    value, change = VALUES[column["scale"]](found["estimate"]["value"]), found["difference"]
    if change is None:
        return [value, found.get("alone", ""), ""]
    middle, low, high = (DIFFERENCES[column["scale"]](change[end]) for end in ("value", "low", "high"))
    noise = " noise" if change["reading"] == "within noise" else ""
    sure = "< 0.001" if change["holm"] < 0.001 else f"{change['holm']:.3f}"
    return [value, f"{middle} [{low}, {high}]", f"{sure}{noise}"]
