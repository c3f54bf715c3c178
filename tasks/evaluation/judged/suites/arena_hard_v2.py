"""Arena-Hard v2.0: 500 hard prompts against o3-mini and 250 creative ones against gemini-2.0-flash, without style control.

The leaderboard has a score per category and no total. Hard prompts with style control are its official score: they are not
comparable with the ones here.
"""

import re
from pathlib import Path
from typing import ClassVar

import pandas as pd

from infra.errors import BadInput
from tasks.evaluation.judged.suites.arena_files import (
    JUDGE_SETTINGS,
    read_arena_answers,
    read_arena_questions,
    read_arena_template,
    read_judge_settings,
)
from tasks.evaluation.judged.suites.arena_hard import VERDICTS, ArenaHard, make_arena_games
from tasks.evaluation.judged.suites.files import Game, Question

V2_FILES = {
    "question.jsonl": "the 750 questions (lmarena/arena-hard-auto, data/arena-hard-v2.0)",
    "o3-mini-2025-01-31.jsonl": "the answers of the hard prompts' baseline (the same, model_answer)",
    "gemini-2.0-flash-001.jsonl": "the answers of the creative prompts' baseline (the same, model_answer)",
    "judge_config.yaml": "arena-hard-v2.0.yaml of the same repository (config)",
    JUDGE_SETTINGS: "the judge's instructions (the same, utils)",
}
BASELINES = {"hard_prompt": "o3-mini-2025-01-31.jsonl", "creative_writing": "gemini-2.0-flash-001.jsonl"}
CATEGORIES = {"hard_prompt": "hard prompts", "creative_writing": "creative writing"}
PATTERNS = (r"\[\[([AB<>=]+)\]\]", r"\[([AB<>=]+)\]")
SAME_AS = {"A<<B": "B>>A", "A<B": "B>A", "B=A": "A=B", "B<<A": "A>>B", "B<A": "A>B"}  # other spellings of a verdict


class ArenaHardV2(ArenaHard):
    files = V2_FILES
    optional: ClassVar[dict[str, str]] = {}
    parameters: ClassVar = {"max_tokens": 16_000, "temperature": 0.0}
    reply_tokens = 1000  # an assumption: the published judgements are not in the repository

    def read_questions(self, folder: Path) -> list[Question]:
        answers = {category: read_arena_answers(folder / file) for category, file in BASELINES.items()}
        questions = []
        for name, prompt, category in read_arena_questions(folder / "question.jsonl"):
            if category not in BASELINES:
                raise BadInput(
                    f"suite arena-hard-v2.0: question {name} is of category {category!r}; v0.1 is arena-hard"
                )
            if name not in answers[category]:
                raise BadInput(f"suite arena-hard-v2.0: {BASELINES[category]} has no answer to question {name}")
            questions.append(Question(name, (prompt,), category, baseline=answers[category][name]))
        return questions

    def read_judge_prompt(self, folder: Path) -> dict[str, tuple[str, str]]:
        _, template = read_arena_template(folder)
        return {category: (read_judge_settings(folder, category), template) for category in CATEGORIES}

    def make_games(
        self,
        judge_prompt: dict[str, tuple[str, str]],
        question: Question,
        answers: tuple[str, ...],
        both_orders: bool = False,
    ) -> list[Game]:
        system, template = judge_prompt[question.category]
        return make_arena_games(system, template, question, answers[0])

    def read_verdict(self, reply: dict, game_name: str) -> str | None:
        """The last label of the reply, in double brackets or else in single ones, as the authors read it."""
        for pattern in PATTERNS:
            if given := re.findall(pattern, reply["content"].upper()):
                label = SAME_AS.get(given[-1], given[-1])
                return label if label in VERDICTS else None
        return None


def categories_of(judged: pd.DataFrame, questions: dict[str, Question]) -> dict[str, pd.DataFrame]:
    """The battles or games of each category that has any, by the category's title."""
    category = judged["question_id"].map(lambda name: questions[str(name)].category)
    parts = {title: judged[category == name] for name, title in CATEGORIES.items()}
    return {title: rows for title, rows in parts.items() if len(rows)}
