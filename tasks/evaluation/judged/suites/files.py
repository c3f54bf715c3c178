"""What all suites share: their files as the authors publish them, questions, and what a judge is shown (a game)."""

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
    """One thing that the judge is asked: about a question, in a position or turn (its name), in these words."""

    question_id: str
    name: str
    messages: tuple[dict[str, str], ...]


def json_lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def answers_by_question(file: Path) -> dict[str, tuple[str, ...]]:
    """Answers as FastChat and Arena-Hard publish them, a turn being text or {"content": text}."""
    return {
        str(row["question_id"]): tuple(
            turn["content"] if isinstance(turn, dict) else turn for turn in row["choices"][0]["turns"]
        )
        for row in json_lines(file)
    }


def filled(template: str, **values: str) -> str:
    """The template's {fields} in one pass: what an answer says is never taken for a field."""
    names = "|".join(map(re.escape, values))
    return re.sub(f"{{({names})}}", lambda found: values[found[1]], template)


def asked(system: str, user: str) -> tuple[dict[str, str], ...]:
    said = ({"role": "system", "content": system}, {"role": "user", "content": user})
    return said if system else said[1:]
