"""AlpacaEval 2: the judge writes one token per prompt; its probabilities are the preference over the baseline's answer.

The order of the two answers is drawn per instruction, as in the published code; `both_orders` also asks in the other order.
"""

import json
import math
import random
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from tasks.evaluation.judged.suites.files import Game, Question, filled
from tasks.evaluation.judged.suites.judged_suite import TwoAnswerSuite

ALPACA_FILES = {
    "alpaca_eval.json": "the 805 prompts with the baseline's outputs (data set tatsu-lab/alpaca_eval)",
    "df_gamed.csv": "instruction difficulties and the two gamed baselines (the same data set)",
    "judge_prompt.txt": "alpaca_eval_clf.txt of the package alpaca-eval (evaluators_configs/alpaca_eval_clf_gpt4_turbo)",
}


class AlpacaEval(TwoAnswerSuite):
    files = ALPACA_FILES
    parameters: ClassVar = {"max_tokens": 1, "temperature": 1.0, "logprobs": True, "top_logprobs": 5}
    reply_tokens = 1

    def read_questions(self, folder: Path) -> list[Question]:
        rows = json.loads((folder / "alpaca_eval.json").read_text(encoding="utf-8"))
        return [
            Question(str(place), (row["instruction"],), row.get("dataset", ""), baseline=row["output"])
            for place, row in enumerate(rows)
        ]

    def read_judge_prompt(self, folder: Path) -> str:
        return (folder / "judge_prompt.txt").read_text(encoding="utf-8")

    def make_games(
        self, judge_prompt: str, question: Question, answers: tuple[str, ...], both_orders: bool = False
    ) -> list[Game]:
        orders = (False, True) if both_orders else (switched(question.turns[0]),)
        return [game(judge_prompt, question, answers[0], candidate_first) for candidate_first in orders]

    def read_verdict(self, reply: dict, game_name: str) -> float | None:
        """Preference for the candidate, 1 to 2, from the first token's log-probabilities; None if both letters are missing."""
        chances = {entry["token"]: math.exp(entry["logprob"]) for entry in reply["top_logprobs"]}
        first, second = chances.get("m", 0.0), chances.get("M", 0.0)
        if first + second == 0:
            return None
        share = second / (first + second)
        return 2 - share if game_name == "switched" else 1 + share

    def share_of_first(self, verdict: float, game_name: str) -> float:
        return verdict - 1 if game_name == "switched" else 2 - verdict


def game(judge_prompt: str, question: Question, answer: str, candidate_first: bool) -> Game:
    first, second = (answer, question.baseline) if candidate_first else (question.baseline, answer)
    messages = tuple(
        {"role": role, "content": filled(text, instruction=question.turns[0], output_1=first, output_2=second)}
        for role, text in re.findall(r"<\|im_start\|>(\w+)\n(.*?)\n?<\|im_end\|>", judge_prompt, re.DOTALL)
    )
    return Game(question.question_id, "switched" if candidate_first else "as is", messages)


def switched(instruction: str) -> bool:
    """True if the candidate's answer is shown first. The draw depends only on the instruction, as in the published code."""
    return random.Random(f"is_switched_outputs{instruction}0").choices([False, True])[0]


def rows(judged: pd.DataFrame, questions: dict[str, Question], answers: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """A row per judged instruction for the length model; the two orders of an instruction are averaged."""
    by_question = judged.dropna(subset="verdict").groupby("question_id", sort=False)["verdict"].mean()
    return pd.DataFrame(
        {
            "instruction_index": [int(name) for name in by_question.index],
            "preference": by_question.to_numpy(),
            "len_1": [len(questions[name].baseline) for name in by_question.index],
            "len_2": [len(answers[name][0]) for name in by_question.index],
        }
    )


def win_rate(preference_rows: pd.DataFrame) -> np.ndarray:
    """Win rate of each instruction in percent, sorted by instruction. Older published files write 0 for a draw."""
    ordered = preference_rows.sort_values("instruction_index")
    return 100 * (ordered["preference"].replace({0.0: 1.5}).to_numpy(dtype=float) - 1)
