"""Whether another reward model would name the same sources as the best."""

import numpy as np

from tasks.economics.rows import BestScores


def compare_winners(reward: BestScores, juror: BestScores) -> dict:
    """The share of prompts where both name exactly the same sources as best, and where they name at least one in common."""
    tops = [scores.best == scores.best.max(axis=1, keepdims=True) for scores in (reward, juror)]
    same, common = (tops[0] == tops[1]).all(axis=1), (tops[0] & tops[1]).any(axis=1)
    return {"prompts": len(same), "same": float(np.mean(same)), "common": float(np.mean(common))}
