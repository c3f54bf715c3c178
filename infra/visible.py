"""Strangers' text for a terminal: control characters are shown instead of obeyed, and a line stays a line."""

import re

LONGEST = 1200  # characters of a line that says what is wrong
# Line ends beyond the usual one, escape sequences, marks that turn the direction of reading, halves of characters.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_control(text: str) -> str:
    """Every character that a terminal would act upon, spelled as Python does."""
    return UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """The same without line ends, and not longer than can be read."""
    line = escape_control(" ".join(text.split("\n")))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}… ({len(line) - LONGEST:,} characters more)"
