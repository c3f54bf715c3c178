"""AlignBench v1.1: 683 Chinese questions. The judge compares each answer with a reference and rates it from 1 to 10 along
the dimensions of the question's kind.

The overall score is the mean of language (six categories) and reasoning (two). Answers without a rating are counted
separately; the published aggregation averages them in as -1.
"""

import json
import re
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from tasks.evaluation.judged.suites.files import Game, Question, fill_template, make_judge_messages, read_jsonl_rows
from tasks.evaluation.judged.suites.judged_suite import JudgedSuite

ALIGN_FILES = {
    "data_v1.1_release.jsonl": "the 683 questions with references (THUDM/AlignBench, data)",
    "dimension_set.json": "dimensions of each kind of answer (the same, config)",
    "dimension_definition.json": "definitions of the dimensions (the same)",
    "subcategory_question_mapping.json": "the kind of each subcategory (the same)",
    "judge_prompt.txt": "base_prompt of the authors' judge.py as printed, with its fields in braces",
}
TOTAL = "综合得分"
GROUPS = {
    "reasoning": ("数学计算", "逻辑推理"),
    "language": ("基本任务", "中文理解", "综合问答", "文本写作", "角色扮演", "专业能力"),
}
CATEGORIES = tuple(name for members in GROUPS.values() for name in members)
Number = TypeVar("Number", float, np.ndarray)  # a float, or an array of a bootstrap's replicates


class AlignBench(JudgedSuite):
    files = ALIGN_FILES
    parameters: ClassVar = {"max_tokens": 2048, "temperature": 0.0}
    reply_tokens = 600
    full_marks = 10

    def read_questions(self, folder: Path) -> list[Question]:
        return [
            Question(
                str(row["question_id"]),
                (row["question"],),
                row["category"],
                (row["reference"],),
                more={"subcategory": row["subcategory"]},
            )
            for row in read_jsonl_rows(folder / "data_v1.1_release.jsonl")
        ]

    def read_judge_prompt(self, folder: Path) -> dict:
        kinds, dimensions, definitions = (
            json.loads((folder / name).read_text(encoding="utf-8"))
            for name in ("subcategory_question_mapping.json", "dimension_set.json", "dimension_definition.json")
        )
        return {
            "text": (folder / "judge_prompt.txt").read_text(encoding="utf-8"),
            "dimensions": {
                subcategory: [(name, definitions[name]) for name in dimensions[kind]]
                for subcategory, kind in kinds.items()
            },
        }

    def make_games(
        self, judge_prompt: dict, question: Question, answers: tuple[str, ...], both_orders: bool = False
    ) -> list[Game]:
        dimensions = judge_prompt["dimensions"][question.more["subcategory"]]
        request = fill_template(
            judge_prompt["text"],
            category=question.category,
            dimensions="".join(f"{number}. {name}: {text}\n" for number, (name, text) in enumerate(dimensions, 1)),
            question=question.turns[0],
            reference=question.reference[0],
            answer=answers[0],
        )
        return [Game(question.question_id, "rating", make_judge_messages("", request))]

    def read_verdict(self, reply: dict, game_name: str) -> float | None:
        """The total in the last dictionary that the judge wrote; without one, the first total anywhere in the reply."""
        dictionaries = re.findall(r"\{[^{}]*\}", reply["content"])
        for text in (dictionaries[-1] if dictionaries else "", reply["content"]):
            if total := re.search(rf"['\"]{TOTAL}['\"]\s*[:：]\s*(\d+(?:\.\d{{1,2}})?)", text):
                return float(total[1]) if float(total[1]) <= self.full_marks else None
        return None


def average_groups(means: dict[str, Number]) -> dict[str, Number]:
    """Each group's score is the mean of its categories' means; overall is the mean of the groups."""
    scores: dict[str, Any] = {}
    for group, members in GROUPS.items():
        if rated := [means[name] for name in members if name in means]:
            scores[group] = sum(rated) / len(rated)
    scores["overall"] = sum(scores.values()) / len(scores)
    return scores
