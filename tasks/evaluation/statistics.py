"""Intervals and tests: the bootstrap over prompts or clusters of rows, McNemar's test, sign flips, Holm's correction."""

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 5000
Estimate = dict[str, float]


def interval(values: np.ndarray, confidence: float, seed: int) -> Estimate:
    """Mean of one value per prompt, with the percentile interval of the bootstrap over prompts."""
    return estimate(float(values.mean()), resample(values, seed).mean(axis=1), confidence)


def resample(values: np.ndarray, seed: int) -> np.ndarray:
    """Bootstrap samples, one per row. They depend only on seed and size, so models of a run get the same prompts (paired)."""
    return values[draws(len(values), seed)]


def draws(size: int, seed: int | Sequence[int], resamples: int = RESAMPLES) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, size, (resamples, size))


def estimate(value: float, replicates: np.ndarray, confidence: float) -> Estimate:
    """A value with the percentile interval of its bootstrap replicates."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return {"value": value, "low": float(low), "high": float(high)}


def clustered(
    values: np.ndarray, weights: np.ndarray, clusters: Sequence, confidence: float, seed: int
) -> dict[str, float]:
    """Weighted mean of rows with several rows per question. The bootstrap draws questions with all their rows."""
    return estimate(
        float(np.average(values, weights=weights)), cluster_means(values, weights, clusters, seed), confidence
    )


def cluster_means(values: np.ndarray, weights: np.ndarray, clusters: Sequence, seed: int) -> np.ndarray:
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(member, weights=values * weights)
    sizes = np.bincount(member, weights=weights)
    drawn = draws(len(sums), seed)
    return sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)


def mcnemar(before: np.ndarray, after: np.ndarray) -> float:
    """Exact two-sided p-value of McNemar's test for right and wrong answers to the same prompts."""
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    changed = gained + lost
    tail = sum(math.comb(changed, count) for count in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**changed)


def sign_flips(differences: np.ndarray, seed: int, flips: int = 10_000) -> float:
    """Two-sided p-value of a mean paired difference: how often random signs of the differences give a mean as large."""
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0
    signs = np.random.default_rng(seed).integers(0, 2, (flips, len(nonzero)), dtype=np.int8) * 2 - 1
    reached = np.abs(signs @ nonzero) >= abs(nonzero.sum()) - 1e-12 * np.abs(nonzero).sum()
    return float((1 + reached.sum()) / (1 + flips))  # the observed signs count as one draw


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values: claims at p < 0.05 are all correct in at least 95 of 100 families."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def within_noise(difference: Estimate) -> bool:
    """True if the interval includes 0, so that no claim is made."""
    return difference["low"] <= 0 <= difference["high"]


def reading(difference: Estimate, adjusted_p: float, confidence: float) -> str:
    """The verdict on a difference: "within noise" if its interval includes 0 or its adjusted p-value is too large."""
    if within_noise(difference) or adjusted_p > 1 - confidence:
        return "within noise"
    return "higher" if difference["value"] > 0 else "lower"


def say_over_family(differences: Sequence[dict], confidence: float) -> None:
    """Adds the Holm-adjusted p-value and a verdict to each difference."""
    adjusted = holm([difference["p"] for difference in differences])
    for difference, p in zip(differences, adjusted, strict=True):
        difference.update({"holm": p, "reading": reading(difference, p, confidence)})


def compute_overall_score(scores: Sequence[tuple[float, float]]) -> float:
    """Mean in percent over benchmarks of different scales, each given as (score, full marks): 8.1 of 10 counts as 81."""
    return sum(100 * score / full for score, full in scores) / len(scores)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values get the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])
