"""The program in a response: of its fenced Python blocks the last that defines what the tests call, with the blocks before it
where it needs them, or all of its text."""

import re
from textwrap import dedent

from tasks.checks.names import unresolved

BLOCK = re.compile(
    r"^[ \t]*(?P<fence>```|~~~)[`~]*[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*(?P=fence)|\Z)", re.DOTALL | re.MULTILINE
)
PYTHON = ("", "python", "python3", "py")
DEFINITION = re.compile(r"^(?:(?:async )?(?:def|class)\s+(\w+)|(\w+)\s*(?::[^=\n]+)?=\s*lambda\b)", re.MULTILINE)


def program_in(text: str, entry_point: str) -> str:
    blocks = [dedent(code) for _, language, code in BLOCK.findall(text) if language.lower() in PYTHON]
    if not blocks:
        return text
    name = re.match(r"\w*", entry_point).group()
    defining = [place for place, code in enumerate(blocks) if name in defined(code) or (not name and defined(code))]
    chosen = (defining or [len(blocks) - 1])[-1]
    return "\n".join(blocks[: chosen + 1]) if needs_more(blocks[chosen]) else blocks[chosen]


def defined(code: str) -> set[str]:
    return {name for found in DEFINITION.findall(code) for name in found if name}


def needs_more(code: str) -> bool:
    """Whether it uses names that an earlier block may hold."""
    try:
        return bool(unresolved(code))
    except (SyntaxError, ImportError, ValueError, RecursionError):
        return False
