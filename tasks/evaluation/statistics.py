"""Intervals and tests: the bootstrap over prompts or clusters of rows, McNemar's test, sign flips, Holm's correction."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 5000
Estimate = dict[str, float]


def bootstrap_mean(values: np.ndarray, confidence: float, seed: int) -> Estimate:
    """Mean of one value per prompt, with the percentile interval of the bootstrap over prompts."""
    return estimate_interval(float(values.mean()), resample_values(values, seed).mean(axis=1), confidence)


def resample_values(values: np.ndarray, seed: int) -> np.ndarray:
    """Bootstrap samples, one per row. They depend only on seed and size, so models of a run get the same prompts (paired)."""
    return values[draw_indices(len(values), seed)]


def draw_indices(size: int, seed: int | Sequence[int], resamples: int = RESAMPLES) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, size, (resamples, size))


def estimate_interval(value: float, replicates: np.ndarray, confidence: float) -> Estimate:
    """A value with the percentile interval of its bootstrap replicates."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return {"value": value, "low": float(low), "high": float(high)}


def bootstrap_clustered_mean(
    values: np.ndarray, weights: np.ndarray, clusters: ArrayLike, confidence: float, seed: int
) -> dict[str, float]:
    """Weighted mean of rows with several rows per question. The bootstrap draws questions with all their rows."""
    return estimate_interval(
        float(np.average(values, weights=weights)), resample_cluster_means(values, weights, clusters, seed), confidence
    )


def resample_cluster_means(values: np.ndarray, weights: np.ndarray, clusters: ArrayLike, seed: int) -> np.ndarray:
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(member, weights=values * weights)
    sizes = np.bincount(member, weights=weights)
    drawn = draw_indices(len(sums), seed)
    return sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)


def compute_mcnemar_p(before: np.ndarray, after: np.ndarray) -> float:
    """Exact two-sided p-value of McNemar's test for right and wrong answers to the same prompts."""
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    changed = gained + lost
    tail = sum(math.comb(changed, count) for count in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**changed)


def compute_sign_flip_p(differences: np.ndarray, seed: int, flips: int = 10_000) -> float:
    """Two-sided p-value of a mean paired difference: how often random signs of the differences give a mean as large."""
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0
    signs = np.random.default_rng(seed).integers(0, 2, (flips, len(nonzero)), dtype=np.int8) * 2 - 1
    reached = np.abs(signs @ nonzero) >= abs(nonzero.sum()) - 1e-12 * np.abs(nonzero).sum()
    return float((1 + reached.sum()) / (1 + flips))  # the observed signs count as one draw


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values: claims at p < 0.05 are all correct in at least 95 of 100 families."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def is_within_noise(difference: Estimate) -> bool:
    """True if the interval includes 0, so that no claim is made."""
    return difference["low"] <= 0 <= difference["high"]


def classify_difference(difference: Estimate, adjusted_p: float, confidence: float) -> str:
    """The verdict on a difference: "within noise" if its interval includes 0 or its adjusted p-value is too large."""
    if is_within_noise(difference) or adjusted_p > 1 - confidence:
        return "within noise"
    return "higher" if difference["value"] > 0 else "lower"


def apply_holm(differences: Sequence[dict], confidence: float) -> None:
    """Adds the Holm-adjusted p-value and a verdict to each difference."""
    adjusted = adjust_p_values([difference["p"] for difference in differences])
    for difference, p in zip(differences, adjusted, strict=True):
        difference.update({"holm": p, "reading": classify_difference(difference, p, confidence)})


def compute_overall_score(scores: Sequence[tuple[float, float]]) -> float:
    """Mean in percent over benchmarks of different scales, each given as (score, full marks): 8.1 of 10 counts as 81."""
    return sum(100 * score / full for score, full in scores) / len(scores)


def compute_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values get the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def compute_rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(compute_ranks(first), compute_ranks(second))[0, 1])
