"""Arena-Hard v0.1: two games per question against the baseline's answer, positions swapped; a clear verdict weighs three."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from tasks.evaluation.judged.suites.files import Game, Question, answers_by_question, asked, filled, json_lines

FILES = {
    "question.jsonl": "the 500 questions (lmarena/arena-hard-auto, data/arena-hard-v0.1)",
    "baseline.jsonl": "the baseline's answers, gpt-4-0314.jsonl (the same, model_answer)",
    "judge_config.yaml": "the judge's instructions (the same, config)",
}
PARAMETERS = {"max_tokens": 4096, "temperature": 0.0}
REPLY_TOKENS = 743  # mean of published judgements, until a judge has given its own
TURNS = 1
VERDICTS = {
    "A>>B": (1.0, 3),
    "A>B": (1.0, 1),
    "A=B": (0.5, 1),
    "B>A": (0.0, 1),
    "B>>A": (0.0, 3),
}  # of A: score, weight


def questions(folder: Path) -> list[Question]:
    baseline = answers_by_question(folder / "baseline.jsonl")
    return [
        Question(
            str(row["question_id"]),
            (row["turns"][0]["content"],),
            row.get("category", ""),
            baseline=baseline[str(row["question_id"])][0],
        )
        for row in json_lines(folder / "question.jsonl")
    ]


def template(folder: Path) -> tuple[str, str]:
    config = yaml.safe_load((folder / "judge_config.yaml").read_text(encoding="utf-8"))
    return config["system_prompt"], config["prompt_template"][0]


def games(
    template: tuple[str, str], question: Question, answers: tuple[str, ...], both_orders: bool = True
) -> list[Game]:
    system, user = template
    own = answers[0]
    return [
        Game(
            question.question_id,
            name,
            asked(system, filled(user, question_1=question.turns[0], answer_1=first, answer_2=second)),
        )
        for name, first, second in (("as is", question.baseline, own), ("switched", own, question.baseline))
    ]


def verdict(reply: dict, name: str) -> str | None:
    """The one label of the five that the judge gave; None where it gave none, several, or another one."""
    found = labels(reply["content"])
    return found.pop() if len(found) == 1 and found <= VERDICTS.keys() else None


def labels(content: str) -> set[str]:
    """Judges also write labels that nobody offered, such as A>>A."""
    return set(re.findall(r"\[\[([AB<>=]+)\]\]", content))


def stray(replies: Iterable[str]) -> int:
    """How many replies bear a label that is none of the five."""
    return sum(bool(labels(json.loads(reply)["content"]) - VERDICTS.keys()) for reply in replies)


def of_first(label: str, name: str) -> float:
    """How much of it, 0 to 1, went to the answer that was shown first."""
    return VERDICTS[label][0]


def lost(name: str) -> str:
    """What an answer counts that no judge needs to see."""
    return "B>>A" if name == "switched" else "A>>B"


def battles(judged: pd.DataFrame) -> pd.DataFrame:
    """Score of the candidate and weight of every game that has a verdict."""
    valid = judged.dropna(subset="verdict")
    of_first = np.array([VERDICTS[label] for label in valid["verdict"]]).reshape(-1, 2)
    return pd.DataFrame(
        {
            "question_id": valid["question_id"].to_numpy(),
            "score": np.where(valid["name"] == "switched", of_first[:, 0], 1 - of_first[:, 0]),
            "weight": of_first[:, 1],
        }
    )
