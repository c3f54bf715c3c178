"""Shared by all judged suites: published files, questions, and games. A game is one request to the judge."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Question:
    question_id: str
    turns: tuple[str, ...]
    category: str = ""
    reference: tuple[str, ...] = ()
    baseline: str = ""
    more: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Game:
    """One request to the judge about a question. The name is the position of the answers, or the turn."""

    question_id: str
    name: str
    messages: tuple[dict[str, str], ...]


def json_lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def answers_by_question(file: Path) -> dict[str, tuple[str, ...]]:
    """Answers in the format of FastChat and Arena-Hard: a turn is text or {"content": text}."""
    return {
        str(row["question_id"]): tuple(
            turn["content"] if isinstance(turn, dict) else turn for turn in row["choices"][0]["turns"]
        )
        for row in json_lines(file)
    }


def filled(template: str, **values: str) -> str:
    """Replaces the template's {fields} in one pass, so that a {field} in an answer's text is not replaced."""
    names = "|".join(map(re.escape, values))
    return re.sub(f"{{({names})}}", lambda found: values[found[1]], template)


def asked(system: str, user: str) -> tuple[dict[str, str], ...]:
    messages = ({"role": "system", "content": system}, {"role": "user", "content": user})
    return messages if system else messages[1:]
