"""The judge's position bias in suites that show two answers. It is reported, and scores are not corrected for it."""

import numpy as np
import pandas as pd

from tasks.evaluation.judged.suites import SUITES
from tasks.evaluation.judged.suites.judged_suite import TwoAnswerSuite


def position(suite: str, judged: pd.DataFrame) -> dict[str, float | None]:
    """`first`: the share of preference for the answer shown first; both orders have equal weight, so an unbiased judge gives
    0.5. `inconsistent`: the share of questions asked in both orders whose winner changed with the order. None where it
    cannot be computed."""
    rules = SUITES[suite]
    if not isinstance(rules, TwoAnswerSuite):
        return {}
    known = judged.dropna(subset="verdict")
    pairs = zip(known["verdict"], known["name"], strict=True)
    known = known.assign(first=np.array([rules.share_of_first(*pair) for pair in pairs], dtype=float))
    by_order = known.groupby("name")["first"].mean()
    sides = known.pivot_table(index="question_id", columns="name", values="first")
    both = sides.dropna() if len(by_order) == 2 else sides.iloc[:0]
    changed = np.sign(both.sub(0.5)).sum(axis=1) != 0  # each answer is first in one of the two orders
    return {
        "first": float(by_order.mean()) if len(by_order) == 2 else None,
        "inconsistent": float(changed.mean()) if len(both) else None,
    }
