"""Whether a judge looks at the answers or at where they stand, of suites that show it two: counted, and never corrected for."""

import numpy as np
import pandas as pd

from tasks.evaluation.judged.suites import SUITES

TWO_ANSWERS = ("alpaca-eval", "arena-hard")


def position(suite: str, asked: pd.DataFrame) -> dict[str, float | None]:
    """`first`: the share that went to the answer shown first, both orders counting alike, so that a judge of answers gives
    one half however good the candidate is; `inconsistent`: the share of questions, asked in both orders, whose winner
    changed with the order. None where nothing was asked that says it."""
    if suite not in TWO_ANSWERS:
        return {}
    known = asked.dropna(subset="verdict")
    pairs = zip(known["verdict"], known["name"], strict=True)
    known = known.assign(first=np.array([SUITES[suite].of_first(*pair) for pair in pairs], dtype=float))
    by_order = known.groupby("name")["first"].mean()
    sides = known.pivot_table(index="question_id", columns="name", values="first")
    both = sides.dropna() if len(by_order) == 2 else sides.iloc[:0]
    changed = np.sign(both.sub(0.5)).sum(axis=1) != 0  # the same answer stands first in one order, second in the other
    return {
        "first": float(by_order.mean()) if len(by_order) == 2 else None,
        "inconsistent": float(changed.mean()) if len(both) else None,
    }
