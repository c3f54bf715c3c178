"""Extracts the program from a response: the last fenced Python block that defines the tested function, with the blocks before
it if it needs them. A response without such blocks is used whole. Runs inside the sandbox only."""

import re
from textwrap import dedent

from tasks.checks.sandbox.names import TOO_DEEP, find_unbound_names

BLOCK = re.compile(
    r"^[ \t]*(?P<fence>```|~~~)[`~]*[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*(?P=fence)|\Z)", re.DOTALL | re.MULTILINE
)
PYTHON = ("", "python", "python3", "py")
READING = re.compile(r"\binput\b|\bstdin\b|\bopen\(0|\bfileinput\b|\bos\.read\(0")
DEFINITION = re.compile(r"^(?:(?:async )?(?:def|class)\s+(\w+)|(\w+)\s*(?::[^=\n]+)?=\s*lambda\b)", re.MULTILINE)


def extract_program(text: str, entry_point: str, setup: str = "") -> str:
    """The program that defines the entry point as a function, class or method. `setup` is the code that runs before it."""
    blocks = find_blocks(text)
    if not blocks:
        return text
    found = re.match(r"\w*", entry_point)
    assert found is not None  # an empty text matches too
    name = found.group()
    defined = [find_definitions(code) for code in blocks]
    defining = [place for place, names in enumerate(defined) if name in names or (not name and names)]
    methods = [
        place for place, code in enumerate(blocks) if name and re.search(rf"^\s+def {name}\b", code, re.MULTILINE)
    ]
    others = [place for place, names in enumerate(defined) if names]  # the name in the tests may differ from the prompt
    return join_blocks(blocks, (defining or methods or others or [len(blocks) - 1])[-1], setup)


def extract_script(text: str, setup: str = "") -> str:
    """The program that reads standard input."""
    blocks = find_blocks(text)
    if not blocks:
        return text
    reading = [place for place, code in enumerate(blocks) if READING.search(code)]
    return join_blocks(blocks, (reading or [len(blocks) - 1])[-1], setup)


def extract_continuation(text: str, beginning: str) -> str:
    """The program that continues the beginning, or repeats it first. As in LiveBench, the last block counts; its indentation is
    kept, because it may continue a function."""
    blocks = [code for _, language, code in BLOCK.findall(text) if language.lower() in PYTHON]
    code = blocks[-1] if blocks else text
    return code if code.startswith(beginning) else f"{beginning}\n{code}"


def find_blocks(text: str) -> list[str]:
    return [dedent(code) for _, language, code in BLOCK.findall(text) if language.lower() in PYTHON]


def join_blocks(blocks: list[str], chosen: int, setup: str) -> str:
    more = chosen and needs_more(f"{setup}\n{blocks[chosen]}")
    return "\n".join(blocks[: chosen + 1]) if more else blocks[chosen]


def find_definitions(code: str) -> set[str]:
    return {name for found in DEFINITION.findall(code) for name in found if name}


def needs_more(code: str) -> bool:
    """True if the code uses names that an earlier block may define."""
    try:
        return bool(find_unbound_names(code))
    except (SyntaxError, ValueError, *TOO_DEEP):
        return False
