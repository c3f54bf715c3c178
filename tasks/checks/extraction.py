"""The program in a response: of its fenced Python blocks the last that defines what the tests call, or all of its text."""

import re

BLOCK = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
PYTHON = ("", "python", "python3", "py")
DEFINITION = re.compile(r"^(?:async )?(?:def|class)\s+(\w+)", re.MULTILINE)


def program_in(text: str, entry_point: str) -> str:
    blocks = [code for language, code in BLOCK.findall(text) if language.lower() in PYTHON]
    name = re.match(r"\w*", entry_point).group()
    defining = [code for code in blocks if name in DEFINITION.findall(code) or (not name and DEFINITION.search(code))]
    return (defining or blocks or [text])[-1]
