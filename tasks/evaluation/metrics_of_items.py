"""Scores of single questions, of several tasks: each task's mean, and the mean of the tasks' means, drawn within tasks."""

import numpy as np
import pandas as pd

from tasks.evaluation.statistics import draws, estimate, interval, mcnemar, sign_flips

AVERAGE = "accuracy"  # over tasks, each counting alike, as leaderboards have it


def measured(values: pd.Series, confidence: float, seed: int) -> list[dict]:
    """In percent, of a series by task and item."""
    found = [
        {"metric": task, **interval(100.0 * rows.to_numpy(dtype=float), confidence, seed)}
        for task, rows in values.groupby(level="task")
    ]
    return [*found, {"metric": AVERAGE, **average(values, confidence, seed)}]


def average(values: pd.Series, confidence: float, seed: int) -> dict:
    replicates, means = [], []
    for place, (_, rows) in enumerate(values.groupby(level="task")):
        numbers = 100.0 * rows.to_numpy(dtype=float)
        means.append(numbers.mean())
        replicates.append(numbers[draws(len(numbers), (seed, place))].mean(axis=1))
    return estimate(float(np.mean(means)), np.mean(replicates, axis=0), confidence)


def compared(before: pd.Series, after: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Over the items that both have; p of McNemar's test where items are right or wrong, else of sign flips."""
    common = before.index.intersection(after.index).sort_values()
    one, two = before.loc[common].astype(float), after.loc[common].astype(float)
    changes = measured(two - one, confidence, seed)
    for change in changes:
        each = slice(None) if change["metric"] == AVERAGE else change["metric"]
        change["p"] = p_value(one.loc[each].to_numpy(), two.loc[each].to_numpy(), seed)
    return changes


def p_value(before: np.ndarray, after: np.ndarray, seed: int) -> float:
    if set(np.unique(np.concatenate([before, after]))) <= {0.0, 1.0}:
        return mcnemar(before == 1, after == 1)
    return sign_flips(after - before, seed)
