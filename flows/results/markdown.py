"""Escapes foreign text for Markdown, so that a card shows it as it is, and it cannot end a table cell or a line."""

import re

from infra.visible import visible


def plain(text: object) -> str:
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", visible(" ".join(str(text).split())))


def code(text: object) -> str:
    """The text between backticks. There, only a backtick and the end of a table cell have a meaning: both are replaced."""
    return f"`{visible(' '.join(str(text).split())).replace('`', chr(39)).replace('|', '/')}`"
