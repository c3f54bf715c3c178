"""Extracts the program from a response: the last fenced Python block that defines the tested function, with the blocks before
it if it needs them. A response without such blocks is used whole. Runs inside the sandbox only."""

import re
from collections.abc import Iterator
from textwrap import dedent

from tasks.checks.sandbox.names import TOO_DEEP, find_unbound_names

FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})(?P<info>.*)")
PYTHON = ("", "python", "python3", "py", "ipython", "ipython3", "sage")
MARKDOWN = ("markdown", "md")
BYTE_ORDER_MARK = "\ufeff"
READING = re.compile(r"\binput\b|\bstdin\b|\bopen\(0|\bfileinput\b|\bos\.read\(0")
DEFINITION = re.compile(r"^(?:(?:async )?(?:def|class)\s+(\w+)|(\w+)\s*(?::[^=\n]+)?=\s*lambda\b)", re.MULTILINE)


def extract_program(text: str, entry_point: str, setup: str = "") -> str:
    """The program that defines the entry point as a function, class or method. `setup` is the code that runs before it."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    blocks = [dedent(code) for code in find_blocks(text)]
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
    text = text.removeprefix(BYTE_ORDER_MARK)
    blocks = [dedent(code) for code in find_blocks(text)]
    if not blocks:
        return text
    reading = [place for place, code in enumerate(blocks) if READING.search(code)]
    return join_blocks(blocks, (reading or [len(blocks) - 1])[-1], setup)


def extract_continuation(text: str, beginning: str) -> str:
    """The program that continues the beginning, or repeats it first. As in LiveBench, the last block counts; its indentation is
    kept, because it may continue a function."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    blocks = find_blocks(text)
    code = blocks[-1] if blocks else text
    return code if code.startswith(beginning) else f"{beginning}\n{code}"


def find_blocks(text: str) -> list[str]:
    """The Python blocks in the order of the text, also those inside a block of Markdown."""
    found = []
    for language, code in split_fences(text):
        inner = split_fences(code) if language in MARKDOWN else [(language, code)]
        found += [code.removeprefix(BYTE_ORDER_MARK) for language, code in inner if language in PYTHON]
    return found


def split_fences(text: str) -> Iterator[tuple[str, str]]:
    """The language and content of each fenced block, by CommonMark's rules; a block without an end ends with the text."""
    opening, language, lines = None, "", []
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        fence = FENCE.match(line)
        if opening is None:
            if fence and not (fence["fence"][0] == "`" and "`" in fence["info"]):  # else it is code within a line
                opening, language, lines = fence, find_language(fence["info"]), []
        elif fence and closes(fence, opening):
            yield language, "".join(lines)
            opening = None
        else:
            lines.append(line)
    if opening is not None:
        yield language, "".join(lines)


def find_language(info: str) -> str:
    found = re.match(r"[ \t]*(\w*)", info)
    return found[1].lower() if found else ""


def closes(fence: re.Match[str], opening: re.Match[str]) -> bool:
    """True if the fence is bare, at least as long as the opening, and at most three columns further to the right: a fence in
    an indented docstring is part of the code."""
    deeper = len(fence["indent"].expandtabs(4)) - len(opening["indent"].expandtabs(4))
    return fence["fence"].startswith(opening["fence"]) and not fence["info"].strip() and deeper <= 3


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
