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
    return estimate(*mean_of_tasks(values, seed), confidence)


def mean_of_tasks(values: pd.Series, *seed: int) -> tuple[float, np.ndarray]:
    """The mean of the tasks' means, and its replicates."""
    replicates, means = [], []
    for place, (_, rows) in enumerate(values.groupby(level="task")):
        numbers = 100.0 * rows.to_numpy(dtype=float)
        means.append(numbers.mean())
        replicates.append(numbers[draws(len(numbers), (*seed, place))].mean(axis=1))
    return float(np.mean(means)), np.mean(replicates, axis=0)


def measured_by_category(values: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Of a series by category, task and item: each category is the mean of its tasks, the average that of the categories."""
    found = {
        name: mean_of_tasks(rows, seed, place) for place, (name, rows) in enumerate(values.groupby(level="category"))
    }
    each = [{"metric": name, **estimate(*both, confidence)} for name, both in found.items()]
    value, replicates = (np.mean([both[part] for both in found.values()], axis=0) for part in (0, 1))
    return [*each, {"metric": AVERAGE, **estimate(float(value), replicates, confidence)}]


def compared_by_category(before: pd.Series, after: pd.Series, confidence: float, seed: int) -> list[dict]:
    """The same of differences over the items that both have; p of sign flips, items weighing as they do in the mean."""
    common = before.index.intersection(after.index).sort_values()
    gained = after.loc[common].astype(float) - before.loc[common].astype(float)
    in_task = gained.groupby(level=["category", "task"]).transform("size")
    tasks = gained.reset_index().groupby("category")["task"].nunique()
    weighed = gained / in_task / gained.index.get_level_values("category").map(tasks).to_numpy()
    changes = measured_by_category(gained, confidence, seed)
    for change in changes:
        each = slice(None) if change["metric"] == AVERAGE else change["metric"]
        change["p"] = sign_flips(weighed.loc[each].to_numpy(), seed)
    return changes


def compared(before: pd.Series, after: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Over the items that both have; p of McNemar's test where items are right or wrong, else of sign flips. Of the average of
    several tasks it is of flips too, items weighing as they do there: McNemar's would ask for the largest task alone."""
    common = before.index.intersection(after.index).sort_values()
    one, two = before.loc[common].astype(float), after.loc[common].astype(float)
    in_task = one.groupby(level="task").transform("size")
    changes = measured(two - one, confidence, seed)
    for change in changes:
        if change["metric"] == AVERAGE and in_task.iloc[0] < len(common):
            change["p"] = sign_flips(((two - one) / in_task).to_numpy(), seed)
        else:
            each = slice(None) if change["metric"] == AVERAGE else change["metric"]
            change["p"] = p_value(one.loc[each].to_numpy(), two.loc[each].to_numpy(), seed)
    return changes


def p_value(before: np.ndarray, after: np.ndarray, seed: int) -> float:
    if set(np.unique(np.concatenate([before, after]))) <= {0.0, 1.0}:
        return mcnemar(before == 1, after == 1)
    return sign_flips(after - before, seed)
