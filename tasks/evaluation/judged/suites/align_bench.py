"""AlignBench v1.1: 683 Chinese questions, each answer compared with a reference and rated 1 to 10 along the dimensions of
its kind.

Overall is the mean of language (six categories) and reasoning (two). What the judge left unrated is counted apart; the
published aggregation averages it in as -1.
"""

import json
import re
from pathlib import Path
from typing import TypeVar

from tasks.evaluation.judged.suites.files import Game, Question, asked, filled, json_lines

FILES = {
    "data_v1.1_release.jsonl": "the 683 questions with references (THUDM/AlignBench, data)",
    "dimension_set.json": "dimensions of each kind of answer (the same, config)",
    "dimension_definition.json": "what they mean (the same)",
    "subcategory_question_mapping.json": "the kind of each subcategory (the same)",
    "judge_prompt.txt": "base_prompt of the authors' judge.py as it prints, with its fields in braces",
}
PARAMETERS = {"max_tokens": 2048, "temperature": 0.0}
REPLY_TOKENS = 600  # an estimate, until a judge has given its own
TURNS = 1
FULL_MARKS = 10
TOTAL = "综合得分"
GROUPS = {
    "reasoning": ("数学计算", "逻辑推理"),
    "language": ("基本任务", "中文理解", "综合问答", "文本写作", "角色扮演", "专业能力"),
}
CATEGORIES = tuple(name for members in GROUPS.values() for name in members)
Number = TypeVar("Number")  # a float, or an array of a bootstrap's replicates


def questions(folder: Path) -> list[Question]:
    return [
        Question(
            str(row["question_id"]),
            (row["question"],),
            row["category"],
            (row["reference"],),
            more={"subcategory": row["subcategory"]},
        )
        for row in json_lines(folder / "data_v1.1_release.jsonl")
    ]


def template(folder: Path) -> dict:
    kinds, dimensions, meaning = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("subcategory_question_mapping.json", "dimension_set.json", "dimension_definition.json")
    )
    return {
        "text": (folder / "judge_prompt.txt").read_text(encoding="utf-8"),
        "dimensions": {kind: [(name, meaning[name]) for name in dimensions[of]] for kind, of in kinds.items()},
    }


def games(template: dict, question: Question, answers: tuple[str, ...], both_orders: bool = False) -> list[Game]:
    chosen = template["dimensions"][question.more["subcategory"]]
    said = filled(
        template["text"],
        category=question.category,
        dimensions="".join(f"{place}. {name}: {means}\n" for place, (name, means) in enumerate(chosen, 1)),
        question=question.turns[0],
        reference=question.reference[0],
        answer=answers[0],
    )
    return [Game(question.question_id, "rating", asked("", said))]


def verdict(reply: dict, name: str) -> float | None:
    """The total of the last dictionary that the judge wrote, or else the first total that stands anywhere."""
    listed = re.findall(r"\{[^{}]*\}", reply["content"])
    for text in (listed[-1] if listed else "", reply["content"]):
        if found := re.search(rf"['\"]{TOTAL}['\"]\s*[:：]\s*(\d+(?:\.\d{{1,2}})?)", text):
            return float(found[1]) if float(found[1]) <= FULL_MARKS else None
    return None


def lost(name: str) -> float:
    """What an answer counts that no judge needs to see."""
    return 1.0


def groups(means: dict[str, Number]) -> dict[str, Number]:
    """Of the categories' means: each group is the mean of its categories, overall the mean of the groups."""
    found = {}
    for group, members in GROUPS.items():
        if rated := [means[name] for name in members if name in means]:
            found[group] = sum(rated) / len(rated)
    return {**found, "overall": sum(found.values()) / len(found)}
