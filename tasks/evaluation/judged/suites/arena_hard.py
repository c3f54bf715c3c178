"""Arena-Hard v0.1, as in the papers: two games per question against the baseline's answer, in both orders. A clear verdict
has weight 3.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from infra.errors import BadInput
from tasks.evaluation.judged.suites.arena_files import (
    JUDGE_SETTINGS,
    V01,
    read_arena_answers,
    read_arena_questions,
    read_arena_template,
    read_judge_settings,
)
from tasks.evaluation.judged.suites.files import Game, Question, fill_template, make_judge_messages
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
    optional: ClassVar[dict[str, str]] = {
        JUDGE_SETTINGS: "the judge's system prompt, which judge_config.yaml lacks since 2025 (the same, utils)"
    }
    parameters: ClassVar = {"max_tokens": 4096, "temperature": 0.0}
    reply_tokens = 743  # mean of the published judgements

    def read_questions(self, folder: Path) -> list[Question]:
        baseline = read_arena_answers(folder / "baseline.jsonl")
        questions = []
        for name, prompt, category in read_arena_questions(folder / "question.jsonl"):
            if category != V01:
                raise BadInput(
                    f"suite arena-hard: question {name} is of category {category!r}; v2.0 is the suite arena-hard-v2.0"
                )
            if name not in baseline:
                raise BadInput(f"suite arena-hard: baseline.jsonl has no answer to question {name}")
            questions.append(Question(name, (prompt,), category, baseline=baseline[name]))
        return questions

    def read_judge_prompt(self, folder: Path) -> Any:
        system, template = read_arena_template(folder)
        return read_judge_settings(folder, V01) if system is None else system, template

    def make_games(
        self, judge_prompt: Any, question: Question, answers: tuple[str, ...], both_orders: bool = False
    ) -> list[Game]:
        system, template = judge_prompt
        return make_arena_games(system, template, question, answers[0])

    def read_verdict(self, reply: dict, game_name: str) -> str | None:
        """The one label that the judge gave; None if it gave no label, several labels or an unknown one."""
        given = find_labels(reply["content"])
        return given.pop() if len(given) == 1 and given <= VERDICTS.keys() else None

    def losing_verdict(self, game_name: str) -> str:
        return "B>>A" if game_name == "switched" else "A>>B"

    def share_of_first(self, verdict: str, game_name: str) -> float:
        return VERDICTS[verdict][0]


def make_arena_games(system: str, template: str, question: Question, candidate: str) -> list[Game]:
    """Always both orders: the published suite asks so. The fields of the template have other names since 2025."""

    def game(name: str, first: str, second: str) -> Game:
        values = {"question_1": question.turns[0], "answer_1": first, "answer_2": second}
        values |= {"QUESTION": question.turns[0], "ANSWER_A": first, "ANSWER_B": second}
        return Game(question.question_id, name, make_judge_messages(system, fill_template(template, **values)))

    return [game("as is", question.baseline, candidate), game("switched", candidate, question.baseline)]


def find_labels(content: str) -> set[str]:
    """All labels in a reply, also those that the prompt did not offer, such as A>>A."""
    return set(re.findall(r"\[\[([AB<>=]+)\]\]", content))


def count_stray_labels(replies: Iterable[str]) -> int:
    """How many replies have a label that the prompt did not offer."""
    return sum(bool(find_labels(json.loads(reply)["content"]) - VERDICTS.keys()) for reply in replies)


def make_battles(judged: pd.DataFrame) -> pd.DataFrame:
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
