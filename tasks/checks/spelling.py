"""Normalises the spelling of answers: removes LaTeX markup and spaces, and unifies different spellings of one sign."""

import re

WRITTEN_ALIKE = [
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\varnothing", r"\\emptyset"),
    (r"\\frac(\d)(\d)", r"\\frac{\1}{\2}"),
    (r"\\(?:left|right|displaystyle|mathrm|,|!|;|:|q?quad)(?![A-Za-z])|~|\\ ", ""),
    (r"\\(?:text|textbf|textit|mbox|mathbf|operatorname)\{([^{}]*)\}", r"\1"),
    (r"\\[()\[\]]|\$|\*\*|`", ""),
    (r"\\([%{}])", r"\1"),
    (r"(?<=\d)\{?,\}?(?=\d{3}(?!\d))", ""),
    (r"(?<!\d)\s+|\s+(?!\d)", ""),
    (r"[.。?]$", ""),
    (r"^\(([A-Za-z])\)$", r"\1"),
]
WORDS = re.compile(r"[^\W\d_]{4,}")


def normalise_spelling(text: str) -> str:
    for pattern, plain in WRITTEN_ALIKE:
        text = re.sub(pattern, plain, text.strip())
    return text


def is_spelled_alike(answer: str, right: str) -> bool:
    """Case matters in formulas, but not in words."""
    answer, right = (normalise_spelling(text) for text in (answer, right))
    if answer == right:
        return bool(answer)
    return bool(WORDS.search(right)) and "\\" not in right and answer.casefold() == right.casefold()


def strip_math_signs(text: str) -> str:
    r"""`$18\text{ cm}$` is `18 cm`; `\$5` and a single `$` are money and become USD."""
    text = re.sub(r"\\(?:text|textbf|textit|mbox|mathrm|mathbf|operatorname)\{([^{}]*)\}", r" \1", text.strip())
    text = re.sub(r"\\\$|(?<=\$)\$(?=\d[^$]*\$$)", " USD ", text)
    text = re.sub(r"\\[()\[\]]|\*\*|`", "", re.sub(r"\$\$?([^$]*)\$\$?", r" \1 ", text)).replace("$", " USD ")
    text = re.sub(r"(?<=\d)(?:\{,\}|\\[,!;:])(?=\d{3}(?!\d))", ",", text)
    text = re.sub(r"\\(?:left|right|displaystyle|q?quad)(?![A-Za-z])|\\[,!;: ]|~", " ", text)
    return re.sub(r"\s+", " ", text).strip().rstrip(".?,;:").strip()
