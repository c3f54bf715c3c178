"""MT-Bench: 80 questions of two turns. The judge sees the dialogue and rates each answer from 1 to 10."""

import re
from pathlib import Path
from typing import ClassVar

import pandas as pd

from tasks.evaluation.judged.suites.files import Game, Question, answers_by_question, asked, filled, json_lines
from tasks.evaluation.judged.suites.judged_suite import JudgedSuite

MT_FILES = {
    "question.jsonl": "the 80 questions (lm-sys/FastChat, fastchat/llm_judge/data/mt_bench)",
    "reference.jsonl": "the reference answers of your judge, such as reference_answer/gpt-4.jsonl (the same)",
    "judge_prompts.jsonl": "the judge's prompts (the same, llm_judge/data)",
}
WITH_REFERENCE = {"math", "reasoning", "coding", "arena-hard-200"}
TURN_NAMES = ("turn 1", "turn 2")
TEMPLATES = {
    ("turn 1", False): "single-v1",
    ("turn 1", True): "single-math-v1",
    ("turn 2", False): "single-v1-multi-turn",
    ("turn 2", True): "single-math-v1-multi-turn",
}


class MTBench(JudgedSuite):
    files = MT_FILES
    parameters: ClassVar = {"max_tokens": 2048, "temperature": 0.0}
    reply_tokens = 170  # mean of the published judgements
    turns = 2
    full_marks = 10

    def read_questions(self, folder: Path) -> list[Question]:
        references = answers_by_question(folder / "reference.jsonl")
        return [
            Question(
                str(row["question_id"]),
                tuple(row["turns"]),
                row["category"],
                references.get(str(row["question_id"]), ()),
            )
            for row in json_lines(folder / "question.jsonl")
        ]

    def read_judge_prompt(self, folder: Path) -> dict[str, dict]:
        return {row["name"]: row for row in json_lines(folder / "judge_prompts.jsonl")}

    def make_games(
        self, judge_prompt: dict[str, dict], question: Question, answers: tuple[str, ...], both_orders: bool = False
    ) -> list[Game]:
        values = {"question": question.turns[0], "answer": answers[0]}
        for number, (turn, answer) in enumerate(zip(question.turns, answers, strict=True), 1):
            values |= {f"question_{number}": turn, f"answer_{number}": answer}
        has_reference = question.category in WITH_REFERENCE
        if has_reference:
            values |= {f"ref_answer_{number}": text for number, text in enumerate(question.reference, 1)}
        games = []
        for name in TURN_NAMES[: len(answers)]:
            template = judge_prompt[TEMPLATES[name, has_reference]]
            messages = asked(template["system_prompt"], filled(template["prompt_template"], **values))
            games.append(Game(question.question_id, name, messages))
        return games

    def read_verdict(self, reply: dict, game_name: str) -> float | None:
        """The first [[rating]], or else the first [rating]. None if it is above the scale: some judges rate up to 100."""
        text = reply["content"]
        rating = re.search(r"\[\[(\d+\.?\d*)\]\]", text) or re.search(r"\[(\d+\.?\d*)\]", text)
        return float(rating[1]) if rating and float(rating[1]) <= self.full_marks else None


def once(judged: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The first rating of each question and turn, and the number of duplicate rows."""
    key = ["question_id", "name"]
    return judged.dropna(subset="verdict").drop_duplicates(key), int(judged.duplicated(key).sum())
