"""How well a judge agrees with published preferences: on single items, and in its order of the models."""

import numpy as np
import pandas as pd

from tasks.evaluation.statistics import compute_rank_correlation

DECIDED = 0.4  # a published preference counts as decided at this distance from a draw


def compute_agreement(preferences: pd.Series, published: pd.Series) -> dict[str, float | int | None]:
    """Agreement of two series of preferences, 1 to 2, by question: the share of items where both prefer the same side (a
    draw counts a half), over all items and over those that the published judge decided, and the rank correlation."""
    both = pd.DataFrame({"judge": preferences, "published": published.replace({0.0: 1.5})}).dropna().astype(float)
    same = 0.5 + 0.5 * np.sign(both["judge"] - 1.5) * np.sign(both["published"] - 1.5)
    decided = (both["published"] - 1.5).abs() >= DECIDED
    return {
        "items": len(both),
        "agreement": float(same.mean()),
        "decided": int(decided.sum()),
        "agreement_decided": float(same[decided].mean()) if decided.any() else None,
        "rank_correlation": correlate_ranks(both["judge"].to_numpy(), both["published"].to_numpy()),
    }


def calibrate_judge(preferences: dict[str, pd.Series], published: dict[str, pd.Series]) -> dict:
    """The agreement on each model's answers, and the rank correlation of the models' win rates."""
    rates = np.array([[side[name].mean() for name in preferences] for side in (preferences, published)])
    agreements = {name: compute_agreement(preferences[name], published[name]) for name in preferences}
    return {"models": agreements, "order": correlate_ranks(*rates) if len(preferences) > 2 else None}


def correlate_ranks(first: np.ndarray, second: np.ndarray) -> float | None:
    """Rank correlation; None if all values of a side are equal, because it has no order then."""
    return compute_rank_correlation(first, second) if np.ptp(first) and np.ptp(second) else None
