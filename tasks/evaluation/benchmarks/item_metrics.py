"""Metrics from scores of single items of several tasks: each task's mean, and the mean of the tasks' means.

The bootstrap draws items within tasks.
"""

import numpy as np
import pandas as pd

from tasks.evaluation.statistics import draws, estimate, interval, mcnemar, sign_flips

AVERAGE = "accuracy"  # the mean over tasks with equal weights, as leaderboards compute it


def measured(values: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Metrics in percent, from a series with the index task, item."""
    by_task = [
        {"metric": task, **interval(100.0 * rows.to_numpy(dtype=float), confidence, seed)}
        for task, rows in values.groupby(level="task")
    ]
    return [*by_task, {"metric": AVERAGE, **average(values, confidence, seed)}]


def average(values: pd.Series, confidence: float, seed: int) -> dict:
    return estimate(*mean_of_tasks(values, seed), confidence)


def mean_of_tasks(values: pd.Series, *seed: int) -> tuple[float, np.ndarray]:
    """The mean of the tasks' means, and its bootstrap replicates."""
    replicates, means = [], []
    for place, (_, rows) in enumerate(values.groupby(level="task")):
        numbers = 100.0 * rows.to_numpy(dtype=float)
        means.append(numbers.mean())
        replicates.append(numbers[draws(len(numbers), (*seed, place))].mean(axis=1))
    return float(np.mean(means)), np.mean(replicates, axis=0)


def measured_by_category(values: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Metrics from a series with the index category, task, item.

    A category's metric is the mean of its tasks; the average is the mean of the categories."""
    categories = {
        name: mean_of_tasks(rows, seed, place) for place, (name, rows) in enumerate(values.groupby(level="category"))
    }
    metrics = [{"metric": name, **estimate(*both, confidence)} for name, both in categories.items()]
    value, replicates = (np.mean([both[part] for both in categories.values()], axis=0) for part in (0, 1))
    return [*metrics, {"metric": AVERAGE, **estimate(float(value), replicates, confidence)}]


def compared_by_category(before: pd.Series, after: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Differences over the common items. The p-values come from sign flips of items, weighted as in the mean."""
    common = before.index.intersection(after.index).sort_values()
    gained = after.loc[common].astype(float) - before.loc[common].astype(float)
    in_task = gained.groupby(level=["category", "task"]).transform("size")
    tasks = gained.reset_index().groupby("category")["task"].nunique()
    weighted = gained / in_task / gained.index.get_level_values("category").map(tasks).to_numpy()
    changes = measured_by_category(gained, confidence, seed)
    for change in changes:
        rows = slice(None) if change["metric"] == AVERAGE else change["metric"]
        change["p"] = sign_flips(weighted.loc[rows].to_numpy(), seed)
    return changes


def compared(before: pd.Series, after: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Differences over the common items. The p-value of a task comes from McNemar's test if its items are right or wrong,
    else from sign flips.

    The average of several tasks always uses sign flips with the weights of the mean, because McNemar's test would give the
    largest task the most weight."""
    common = before.index.intersection(after.index).sort_values()
    old, new = before.loc[common].astype(float), after.loc[common].astype(float)
    in_task = old.groupby(level="task").transform("size")
    changes = measured(new - old, confidence, seed)
    for change in changes:
        if change["metric"] == AVERAGE and in_task.iloc[0] < len(common):
            change["p"] = sign_flips(((new - old) / in_task).to_numpy(), seed)
        else:
            rows = slice(None) if change["metric"] == AVERAGE else change["metric"]
            change["p"] = p_value(old.loc[rows].to_numpy(), new.loc[rows].to_numpy(), seed)
    return changes


def p_value(before: np.ndarray, after: np.ndarray, seed: int) -> float:
    if set(np.unique(np.concatenate([before, after]))) <= {0.0, 1.0}:
        return mcnemar(before == 1, after == 1)
    return sign_flips(after - before, seed)
