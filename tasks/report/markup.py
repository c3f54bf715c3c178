"""Tables, figures and what stands where there are none: the parts that the report's sections are made of."""

from tasks.report.words import Html, text


def absent(words: str) -> str:
    return f'<p class="absent">{words}</p>'


def figure(caption: str, charts: list[Html]) -> str:
    return f'<figure><figcaption>{caption}</figcaption><div class="charts">{"".join(charts)}</div></figure>'


def table(heads: list[str], rows: list[list], numeric: int, foot: list | None = None) -> str:
    """The last `numeric` columns hold numbers. Every cell is escaped unless it is markup of our own."""

    def cells(row: list, tag: str) -> str:
        kinds = [""] * (len(row) - numeric) + [' class="number"'] * numeric
        inner = (f"<{tag}{kind}>{text(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    body = "".join(cells(row, "td") for row in rows)
    end = f"<tfoot>{cells(foot, 'td')}</tfoot>" if foot else ""
    return f'<div class="wide"><table><thead>{cells(heads, "th")}</thead><tbody>{body}</tbody>{end}</table></div>'
