"""AlpacaEval 2: one token of the judge per prompt, its probabilities being the preference over the baseline's answer.

Which of the two is shown first is drawn per instruction, as published; `both_orders` asks for the other order as well.
"""

import json
import math
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.evaluation.judged.suites.files import Game, Question, filled

FILES = {
    "alpaca_eval.json": "the 805 prompts with the baseline's outputs (data set tatsu-lab/alpaca_eval)",
    "df_gamed.csv": "instruction difficulties and the two gamed baselines (the same data set)",
    "judge_prompt.txt": "alpaca_eval_clf.txt of the package alpaca-eval (evaluators_configs/alpaca_eval_clf_gpt4_turbo)",
}
PARAMETERS = {"max_tokens": 1, "temperature": 1.0, "logprobs": True, "top_logprobs": 5}
REPLY_TOKENS = 1
TURNS = 1


def questions(folder: Path) -> list[Question]:
    rows = json.loads((folder / "alpaca_eval.json").read_text(encoding="utf-8"))
    return [
        Question(str(place), (row["instruction"],), row.get("dataset", ""), baseline=row["output"])
        for place, row in enumerate(rows)
    ]


def template(folder: Path) -> str:
    return (folder / "judge_prompt.txt").read_text(encoding="utf-8")


def games(template: str, question: Question, answers: tuple[str, ...], both_orders: bool = False) -> list[Game]:
    orders = (False, True) if both_orders else (switched(question.turns[0]),)
    return [game(template, question, answers[0], order) for order in orders]


def game(template: str, question: Question, answer: str, switch: bool) -> Game:
    first, second = (answer, question.baseline) if switch else (question.baseline, answer)
    said = tuple(
        {"role": role, "content": filled(text, instruction=question.turns[0], output_1=first, output_2=second)}
        for role, text in re.findall(r"<\|im_start\|>(\w+)\n(.*?)\n?<\|im_end\|>", template, re.DOTALL)
    )
    return Game(question.question_id, "switched" if switch else "as is", said)


def switched(instruction: str) -> bool:
    """The published coin of an instruction: whether its candidate is shown first."""
    return random.Random(f"is_switched_outputs{instruction}0").choices([False, True])[0]


def verdict(reply: dict, name: str) -> float | None:
    """Preference for the candidate, 1 to 2, from the first token's log-probabilities; None without either letter."""
    found = {one["token"]: math.exp(one["logprob"]) for one in reply["top_logprobs"]}
    first, second = found.get("m", 0.0), found.get("M", 0.0)
    if first + second == 0:
        return None
    share = second / (first + second)
    return 2 - share if name == "switched" else 1 + share


def of_first(preference: float, name: str) -> float:
    """How much of it, 0 to 1, went to the answer that was shown first."""
    return preference - 1 if name == "switched" else 2 - preference


def lost(name: str) -> float:
    """What an answer counts that no judge needs to see."""
    return 1.0


def rows(judged: pd.DataFrame, asked: dict[str, Question], answers: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """A row per judged instruction, both orders averaged, as the length model reads it."""
    by_question = judged.dropna(subset="verdict").groupby("question_id", sort=False)["verdict"].mean()
    return pd.DataFrame(
        {
            "instruction_index": [int(name) for name in by_question.index],
            "preference": by_question.to_numpy(),
            "len_1": [len(asked[name].baseline) for name in by_question.index],
            "len_2": [len(answers[name][0]) for name in by_question.index],
        }
    )


def win_rate(found: pd.DataFrame) -> np.ndarray:
    """Per prompt in percent, by instruction."""
    found = found.sort_values("instruction_index")
    return 100 * (found["preference"].replace({0.0: 1.5}).to_numpy(dtype=float) - 1)
