"""Makes untrusted text safe to print on a terminal: escapes control characters, and keeps one line one line."""

import re

LONGEST = 1200  # characters of an error message in one line
# Control characters but tab and newline, rare line ends, marks that change the reading direction, surrogates.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_control(text: str) -> str:
    """Replaces each character that a terminal would act upon by its Python escape."""
    return UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """Escapes the text, joins its lines and shortens the result to a readable length."""
    line = escape_control(" ".join(text.split("\n")))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}… ({len(line) - LONGEST:,} characters more)"
