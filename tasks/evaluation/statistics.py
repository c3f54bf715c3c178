"""Means with honest intervals: the bootstrap over prompts, paired where two models answered the same prompts."""

import numpy as np

RESAMPLES = 5000


def interval(values: np.ndarray, confidence: float, seed: int) -> dict[str, float]:
    """Mean of one value per prompt, with the percentile interval of its bootstrap over prompts."""
    means = resample(values, seed).mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}


def resample(values: np.ndarray, seed: int) -> np.ndarray:
    """The same prompts are drawn for every model of a run (the draw depends on seed and size alone): pairs stay pairs."""
    draw = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    return values[draw]
