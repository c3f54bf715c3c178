"""MT-Bench: 80 questions of two turns, each answer rated 1 to 10 by a judge that sees the dialogue so far."""

import re
from pathlib import Path

import pandas as pd

from tasks.evaluation.judged.suites.files import Game, Question, answers_by_question, asked, filled, json_lines

FILES = {
    "question.jsonl": "the 80 questions (lm-sys/FastChat, fastchat/llm_judge/data/mt_bench)",
    "reference.jsonl": "the reference answers of the judge you mean, as reference_answer/gpt-4.jsonl (the same)",
    "judge_prompts.jsonl": "the judge's prompts (the same, llm_judge/data)",
}
PARAMETERS = {"max_tokens": 2048, "temperature": 0.0}
REPLY_TOKENS = 170  # mean of published judgements, until a judge has given its own
TURNS = 2
FULL_MARKS = 10
WITH_REFERENCE = {"math", "reasoning", "coding", "arena-hard-200"}
TEMPLATES = {
    ("turn 1", False): "single-v1",
    ("turn 1", True): "single-math-v1",
    ("turn 2", False): "single-v1-multi-turn",
    ("turn 2", True): "single-math-v1-multi-turn",
}


def questions(folder: Path) -> list[Question]:
    reference = answers_by_question(folder / "reference.jsonl")
    return [
        Question(
            str(row["question_id"]), tuple(row["turns"]), row["category"], reference.get(str(row["question_id"]), ())
        )
        for row in json_lines(folder / "question.jsonl")
    ]


def template(folder: Path) -> dict[str, dict]:
    return {row["name"]: row for row in json_lines(folder / "judge_prompts.jsonl")}


def games(
    template: dict[str, dict], question: Question, answers: tuple[str, ...], both_orders: bool = False
) -> list[Game]:
    values = {"question": question.turns[0], "answer": answers[0]}
    for place, (turn, answer) in enumerate(zip(question.turns, answers, strict=True), 1):
        values |= {f"question_{place}": turn, f"answer_{place}": answer}
    graded = question.category in WITH_REFERENCE
    if graded:
        values |= {f"ref_answer_{place}": text for place, text in enumerate(question.reference, 1)}
    found = []
    for name in ("turn 1", "turn 2")[: len(answers)]:
        chosen = template[TEMPLATES[name, graded]]
        said = asked(chosen["system_prompt"], filled(chosen["prompt_template"], **values))
        found.append(Game(question.question_id, name, said))
    return found


def verdict(reply: dict, name: str) -> float | None:
    """The first [[rating]], or else the first [rating]; none that is off the scale (a judge that counts to a hundred)."""
    found = re.search(r"\[\[(\d+\.?\d*)\]\]", reply["content"]) or re.search(r"\[(\d+\.?\d*)\]", reply["content"])
    return float(found[1]) if found and float(found[1]) <= FULL_MARKS else None


def lost(name: str) -> float:
    """What an answer counts that no judge needs to see."""
    return 1.0


def once(judged: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The first rating of each question and turn; and how many rows came twice."""
    key = ["question_id", "name"]
    return judged.dropna(subset="verdict").drop_duplicates(key), int(judged.duplicated(key).sum())
