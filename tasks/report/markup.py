"""Tables, figures, and notes in place of missing ones: the parts of the report's sections."""

from collections.abc import Sequence

from tasks.report.words import render_value


def render_absent(words: str) -> str:
    return f'<p class="absent">{words}</p>'


def render_figure(caption: str, charts: Sequence[str]) -> str:
    return f'<figure><figcaption>{caption}</figcaption><div class="charts">{"".join(charts)}</div></figure>'


def render_table(heads: list[str], rows: list[list], numeric: int, foot: list | None = None) -> str:
    """A table; the last `numeric` columns are numbers. Every cell is escaped unless it is `Html`."""

    def cells(row: list, tag: str) -> str:
        kinds = [""] * (len(row) - numeric) + [' class="number"'] * numeric
        inner = (f"<{tag}{kind}>{render_value(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    body = "".join(cells(row, "td") for row in rows)
    end = f"<tfoot>{cells(foot, 'td')}</tfoot>" if foot else ""
    return f'<div class="wide"><table><thead>{cells(heads, "th")}</thead><tbody>{body}</tbody>{end}</table></div>'
