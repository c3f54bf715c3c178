"""Arena-Hard v0.1: two games per question against the baseline's answer, in both orders. A clear verdict has weight 3."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import yaml

from tasks.evaluation.judged.suites.files import Game, Question, answers_by_question, asked, filled, json_lines
from tasks.evaluation.judged.suites.judged_suite import TwoAnswerSuite

ARENA_FILES = {
    "question.jsonl": "the 500 questions (lmarena/arena-hard-auto, data/arena-hard-v0.1)",
    "baseline.jsonl": "the baseline's answers, gpt-4-0314.jsonl (the same, model_answer)",
    "judge_config.yaml": "the judge's instructions (the same, config)",
}
VERDICTS = {
    "A>>B": (1.0, 3),
    "A>B": (1.0, 1),
    "A=B": (0.5, 1),
    "B>A": (0.0, 1),
    "B>>A": (0.0, 3),
}  # label -> score of answer A, weight


class ArenaHard(TwoAnswerSuite):
    files = ARENA_FILES
    parameters: ClassVar = {"max_tokens": 4096, "temperature": 0.0}
    reply_tokens = 743  # mean of the published judgements

    def read_questions(self, folder: Path) -> list[Question]:
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

    def read_judge_prompt(self, folder: Path) -> tuple[str, str]:
        config = yaml.safe_load((folder / "judge_config.yaml").read_text(encoding="utf-8"))
        return config["system_prompt"], config["prompt_template"][0]

    def make_games(
        self, judge_prompt: tuple[str, str], question: Question, answers: tuple[str, ...], both_orders: bool = False
    ) -> list[Game]:
        """Always both orders: the published suite asks so."""
        system, user = judge_prompt
        candidate = answers[0]
        return [
            Game(
                question.question_id,
                name,
                asked(system, filled(user, question_1=question.turns[0], answer_1=first, answer_2=second)),
            )
            for name, first, second in (
                ("as is", question.baseline, candidate),
                ("switched", candidate, question.baseline),
            )
        ]

    def read_verdict(self, reply: dict, game_name: str) -> str | None:
        """The one label that the judge gave; None if it gave no label, several labels or an unknown one."""
        given = labels(reply["content"])
        return given.pop() if len(given) == 1 and given <= VERDICTS.keys() else None

    def losing_verdict(self, game_name: str) -> str:
        return "B>>A" if game_name == "switched" else "A>>B"

    def share_of_first(self, verdict: str, game_name: str) -> float:
        return VERDICTS[verdict][0]


def labels(content: str) -> set[str]:
    """All labels in a reply, also those that the prompt did not offer, such as A>>A."""
    return set(re.findall(r"\[\[([AB<>=]+)\]\]", content))


def stray(replies: Iterable[str]) -> int:
    """How many replies have a label that the prompt did not offer."""
    return sum(bool(labels(json.loads(reply)["content"]) - VERDICTS.keys()) for reply in replies)


def battles(judged: pd.DataFrame) -> pd.DataFrame:
    """The candidate's score and the weight of each game with a verdict."""
    valid = judged.dropna(subset="verdict")
    first_and_weight = np.array([VERDICTS[label] for label in valid["verdict"]]).reshape(-1, 2)
    return pd.DataFrame(
        {
            "question_id": valid["question_id"].to_numpy(),
            "score": np.where(valid["name"] == "switched", first_and_weight[:, 0], 1 - first_and_weight[:, 0]),
            "weight": first_and_weight[:, 1],
        }
    )
