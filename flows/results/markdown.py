"""What others wrote, in a card: read as it stands, never as markup, and no table or line ends with it."""

import re

from infra.visible import visible


def plain(text: object) -> str:
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", visible(" ".join(str(text).split())))


def code(text: object) -> str:
    """Between backticks, where nothing else means anything but the end of a table's cell."""
    return f"`{visible(' '.join(str(text).split())).replace('`', chr(39)).replace('|', '/')}`"
