"""Metrics from scores of single items of several tasks: each task's mean, and the mean of the tasks' means.

The bootstrap draws items within tasks.
"""

import numpy as np
import pandas as pd

from tasks.evaluation.statistics import (
    bootstrap_mean,
    compute_mcnemar_p,
    compute_sign_flip_p,
    draw_indices,
    estimate_interval,
)

AVERAGE = "accuracy"  # the mean over tasks with equal weights, as leaderboards compute it


def measure_tasks(values: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Metrics in percent, from a series with the index task, item."""
    by_task = [
        {"metric": task, **bootstrap_mean(100.0 * rows.to_numpy(dtype=float), confidence, seed)}
        for task, rows in values.groupby(level="task")
    ]
    return [*by_task, {"metric": AVERAGE, **estimate_task_average(values, confidence, seed)}]


def estimate_task_average(values: pd.Series, confidence: float, seed: int) -> dict:
    return estimate_interval(*resample_task_mean(values, seed), confidence)


def resample_task_mean(values: pd.Series, *seed: int) -> tuple[float, np.ndarray]:
    """The mean of the tasks' means, and its bootstrap replicates."""
    replicates, means = [], []
    for place, (_, rows) in enumerate(values.groupby(level="task")):
        numbers = 100.0 * rows.to_numpy(dtype=float)
        means.append(numbers.mean())
        replicates.append(numbers[draw_indices(len(numbers), (*seed, place))].mean(axis=1))
    return float(np.mean(means)), np.mean(replicates, axis=0)


def measure_categories(values: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Metrics from a series with the index category, task, item.

    A category's metric is the mean of its tasks; the average is the mean of the categories."""
    categories = {
        name: resample_task_mean(rows, seed, place)
        for place, (name, rows) in enumerate(values.groupby(level="category"))
    }
    metrics = [{"metric": name, **estimate_interval(*both, confidence)} for name, both in categories.items()]
    value = np.mean([mean for mean, _ in categories.values()], axis=0)
    replicates = np.mean([drawn for _, drawn in categories.values()], axis=0)
    return [*metrics, {"metric": AVERAGE, **estimate_interval(float(value), replicates, confidence)}]


def compare_categories(before: pd.Series, after: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Differences over the common items. The p-values come from sign flips of items, weighted as in the mean."""
    common = before.index.intersection(after.index).sort_values()
    gained = after.loc[common].astype(float) - before.loc[common].astype(float)
    in_task = gained.groupby(level=["category", "task"]).transform("size")
    tasks = gained.reset_index().groupby("category")["task"].nunique()
    tasks_of_item = gained.index.get_level_values("category").map(tasks)  # pyright: ignore[reportArgumentType]
    weighted = gained / in_task / tasks_of_item.to_numpy()
    changes = measure_categories(gained, confidence, seed)
    for change in changes:
        rows = slice(None) if change["metric"] == AVERAGE else change["metric"]
        change["p"] = compute_sign_flip_p(weighted.loc[rows].to_numpy(), seed)
    return changes


def compare_task_scores(before: pd.Series, after: pd.Series, confidence: float, seed: int) -> list[dict]:
    """Differences over the common items. The p-value of a task comes from McNemar's test if its items are right or wrong,
    else from sign flips.

    The average of several tasks always uses sign flips with the weights of the mean, because McNemar's test would give the
    largest task the most weight."""
    common = before.index.intersection(after.index).sort_values()
    old, new = before.loc[common].astype(float), after.loc[common].astype(float)
    in_task = old.groupby(level="task").transform("size")
    changes = measure_tasks(new - old, confidence, seed)
    for change in changes:
        if change["metric"] == AVERAGE and in_task.iloc[0] < len(common):
            change["p"] = compute_sign_flip_p(((new - old) / in_task).to_numpy(), seed)
        else:
            rows = slice(None) if change["metric"] == AVERAGE else change["metric"]
            change["p"] = compute_item_p(old.loc[rows].to_numpy(), new.loc[rows].to_numpy(), seed)
    return changes


def compute_item_p(before: np.ndarray, after: np.ndarray, seed: int) -> float:
    if set(np.unique(np.concatenate([before, after]))) <= {0.0, 1.0}:
        return compute_mcnemar_p(before == 1, after == 1)
    return compute_sign_flip_p(after - before, seed)
