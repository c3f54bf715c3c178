"""How far a judge agrees with published preferences: item by item, and in the order in which it puts the models."""

import numpy as np
import pandas as pd

from tasks.evaluation.statistics import rank_correlation

DECIDED = 0.4  # a published preference so far from a draw is decided


def agreement(mine: pd.Series, published: pd.Series) -> dict[str, float | int]:
    """Of preferences from 1 to 2, by question: how often both are on the same side (a draw of one half counts a half), over
    all items and over those that the published judge decided; and the correlation of ranks."""
    both = pd.DataFrame({"mine": mine, "published": published.replace({0.0: 1.5})}).dropna().astype(float)
    same = 0.5 + 0.5 * np.sign(both["mine"] - 1.5) * np.sign(both["published"] - 1.5)
    decided = (both["published"] - 1.5).abs() >= DECIDED
    return {
        "items": len(both),
        "agreement": float(same.mean()),
        "decided": int(decided.sum()),
        "agreement_decided": float(same[decided].mean()) if decided.any() else None,
        "rank_correlation": varied(both["mine"].to_numpy(), both["published"].to_numpy()),
    }


def of_models(mine: dict[str, pd.Series], published: dict[str, pd.Series]) -> dict:
    """Each model by itself, and the order of all of them by win rate."""
    rates = np.array([[side[name].mean() for name in mine] for side in (mine, published)])
    found = {"models": {name: agreement(mine[name], published[name]) for name in mine}}
    return {**found, "order": varied(*rates) if len(mine) > 2 else None}


def varied(one: np.ndarray, other: np.ndarray) -> float | None:
    """None where one of them says the same of everything: there is no order to compare."""
    return rank_correlation(one, other) if np.ptp(one) and np.ptp(other) else None
