"""Turns a row of a data set into a prompt. The recipe says which column has which meaning; texts are not changed."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tasks.prompts.mining import mine_asserts, mine_examples
from tasks.records import prompt_id
from tasks.stage import What

ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
LONGEST = 10_000_000  # characters of a text
EXTRA_ID = re.compile(r"\n<extra_id_1>(?:Assistant|User)\n")  # between the turns of nvidia/HelpSteer2


class Columns(What):
    """The columns of a prompt's parts. A part without a column here is read from the column with the part's name, if any."""

    prompt: str | tuple[str, ...] | None = Field(
        default=None,
        description="a single user turn; if several columns are given, the filled ones are joined by line breaks",
    )
    messages: str | None = Field(default=None, description="a list of {role, content} or {from, value}")
    category: str | None = None
    gold: str | None = Field(default=None, description="the correct answer, or tests, for checking responses")
    tests: Literal["given", "examples", "asserts"] = Field(
        default="given",
        description="examples, asserts: make the gold from worked examples or asserts in the prompt or the data set's response",
    )
    solution: str | None = Field(
        default=None, description="for tests = examples: a program that shows how to call the function"
    )
    response: str | None = Field(default=None, description="a response in the data set; only read if named here")
    part: str | None = Field(
        default=None, description="sft, preference or held_out, for the split 'given'; only read if named here"
    )
    turns: Literal["all", "first"] = Field(
        default="all", description="all: all turns; first: only the first user turn and the turns before it"
    )
    answered: Literal["refuse", "cut"] = Field(
        default="refuse", description="assistant turns at the end: refuse or remove them"
    )
    marks: Literal["none", "extra-id"] = Field(
        default="none", description="extra-id: a text contains turns, as in HelpSteer2"
    )

    def optional(self) -> tuple[tuple[str, str | None], ...]:
        return ("response", self.response), ("part", self.part), ("solution", self.solution)

    def wanted(self) -> dict[str, tuple[str, bool]]:
        """column -> (its part of the prompt, whether the row must have it)."""
        parts = {"prompt": self.prompt, "messages": self.messages, "category": self.category, "gold": self.gold}
        if self.prompt or self.messages:  # if one of them is named, do not read the other from its default column
            parts = {part: name for part, name in parts.items() if name or part not in ("prompt", "messages")}
        parts |= {part: name for part, name in self.optional() if name}
        named = {part: (name,) if isinstance(name, str) else name or (part,) for part, name in parts.items()}
        return {name: (part, bool(parts[part])) for part, names in named.items() for name in names}


def read_prompt(row: Any, columns: Columns, category: str = "") -> dict:
    """The prompt in a row; raises ValueError for a bad row."""
    if not isinstance(row, dict):
        raise ValueError(f"is {type(row).__name__}, not an object with columns")
    for name, (part, must) in columns.wanted().items():
        if must and name not in row:
            raise ValueError(f"{part}: there is no column {name!r}; the columns are {', '.join(map(repr, row))}")
    messages, answer = split_answer(turns_of(row, columns), columns)
    found = {
        "messages": messages,
        "category": check_text(row.get(columns.category or "category"), "category") or category,
        "gold": to_plain_text(row.get(columns.gold or "gold")),
        "unmined": "",
        "response": read_given_response(row, columns, answer),
        "part": read_part(row, columns),
    }
    if columns.tests != "given":
        found |= mine_gold(messages[-1]["content"], row, columns, found["response"])
    for name, words in walk_strings(found):
        refuse_unstorable(name, words)
    return {"prompt_id": prompt_id(messages), **found}


def mine_gold(prompt: str, row: dict, columns: Columns, response: str | None) -> dict:
    """The gold made from the prompt or the response, or the reason why it cannot be made."""
    try:
        if columns.tests == "examples":
            return {"gold": mine_examples(prompt, check_text(row.get(columns.solution), "solution"))}
        return {"gold": mine_asserts(prompt, response)}
    except ValueError as problem:
        return {"gold": None, "unmined": str(problem)}


def turns_of(row: dict, columns: Columns) -> list[dict[str, str]]:
    listed = row.get(columns.messages or "messages") if columns.messages or not columns.prompt else None
    if listed:
        return [read_turn(item) for item in listed] if isinstance(listed, list) else refuse_value("messages", listed)
    names = (columns.prompt,) if isinstance(columns.prompt, str) else columns.prompt or ("prompt",)
    parts = [check_text(row.get(name), name) for name in names]
    whole = "\n".join(part for part in parts if part) if len(parts) > 1 else parts[0]
    if whole is None:
        raise ValueError("has neither a prompt nor messages")
    pieces = EXTRA_ID.split(whole) if columns.marks == "extra-id" else [whole]
    return [{"role": ("user", "assistant")[place % 2], "content": piece} for place, piece in enumerate(pieces)]


def read_turn(item: Any) -> dict[str, str]:
    """A turn {role, content}, from the same or from ShareGPT's {from, value}. Refuses other fields, which would be lost."""
    if not isinstance(item, dict):
        refuse_value("messages", item)
    filled = {name: value for name, value in item.items() if value is not None}
    role, content = (("from", "value"), ("role", "content"))["role" in filled]
    if set(filled) != {role, content} or not isinstance(filled[content], str):
        refuse_value("messages", item)
    if not isinstance(filled[role], str) or filled[role] not in ROLES:
        refuse_value("messages", item)
    return {"role": ROLES[filled[role]], "content": filled[content]}


def split_answer(messages: list[dict[str, str]], columns: Columns) -> tuple[list[dict[str, str]], str | None]:
    """The messages up to the last user turn, and the answer after it, if there is one."""
    end = len(messages)
    while columns.answered == "cut" and end and messages[end - 1]["role"] == "assistant":
        end -= 1
    if columns.turns == "first":
        users = [place for place, message in enumerate(messages[:end]) if message["role"] == "user"]
        end = users[0] + 1 if users else end
    if not end or messages[end - 1]["role"] != "user" or not messages[end - 1]["content"].strip():
        last = messages[end - 1] if end else None
        raise ValueError(f"the last message must be a user turn with some text, not {last!r:.80}")
    refuse_disorder([message["role"] for message in messages[:end]])
    following = messages[end]["content"] if end < len(messages) else None
    return messages[:end], following


def refuse_disorder(roles: list[str]) -> None:
    """The order must be: an optional system turn, then user and assistant alternately. Chat templates support no other."""
    talk = roles[1:] if roles[0] == "system" else roles
    for place, role in enumerate(talk):
        if role != ("user", "assistant")[place % 2]:
            raise ValueError(
                f"messages: turn {place + 1 + len(roles) - len(talk)} of {', '.join(roles)} is out of order"
            )


def read_given_response(row: dict, columns: Columns, following: str | None) -> str | None:
    """The data set's response: the text or first assistant turn in its column, or the turn that followed the prompt."""
    value = row.get(columns.response) if columns.response else None
    if isinstance(value, list):
        value = next((item["content"] for item in map(read_turn, value) if item["role"] == "assistant"), None)
    return check_text(value, "response") if columns.response and columns.response != columns.messages else following


def read_part(row: dict, columns: Columns) -> str | None:
    value = row.get(columns.part) if columns.part else None
    if value not in (None, "sft", "preference", "held_out"):
        raise ValueError(f"part: {value!r:.80} is not sft, preference or held_out")
    return value


def to_plain_text(value: Any) -> str | None:
    """Text unchanged; other values (numbers, lists of tests) as JSON."""
    try:
        return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except TypeError as problem:
        raise ValueError(f"gold: {problem}: {value!r:.80}") from problem


def check_text(value: Any, name: str) -> str | None:
    return value if value is None or isinstance(value, str) else refuse_value(name, value)


def refuse_value(name: str, value: Any) -> Any:
    raise ValueError(f"{name}: invalid value {value!r:.80}")


def walk_strings(found: dict) -> Iterator[tuple[str, str]]:
    """Every text of the prompt, with a name for error messages."""
    turns = found["messages"]
    yield from (
        (f"turn {place}" if len(turns) > 1 else "prompt", turn["content"]) for place, turn in enumerate(turns, 1)
    )
    yield from ((part, found[part]) for part in ("category", "gold", "response") if found[part])


def refuse_unstorable(name: str, words: str) -> None:
    """Refuses texts that other programs would cut at a NUL, that have no UTF-8 form, or that are too long for a prompt."""
    if len(words) > LONGEST:
        raise ValueError(f"{name}: the text is too long ({len(words):,} characters): {words[:40]!r}…")
    if (bad := re.search("[\0\ud800-\udfff]", words)) is not None:
        what = "a NUL" if bad[0] == "\0" else "half of a surrogate pair"
        around = words[max(bad.start() - 30, 0) : bad.start() + 30]
        raise ValueError(f"{name}: character {bad.start()} is {what}: {around!r}")
