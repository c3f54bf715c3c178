"""Replays a sampling rule on stored rows: what it would have saved, and what it would have lost. Makes no rows.

The rule asks in rounds of n samples. After each round it estimates, for every source and prompt, the chance that one of the
samples that are left beats the best score so far, and stops asking where the chance is below a threshold; a source whose mean
chance over all prompts is below it is asked no more. Scores of a source on a prompt count as normal around their own mean, which
is drawn towards the prompt's mean plus the source's usual distance from it; the spread is the source's own, over all prompts.
Everything follows from stored rows, so the same rows give the same decisions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from tasks.economics.rows import ScoredRows, exact_mean

THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class SamplingRule:
    round: int = 1  # samples of each source and prompt in one round
    threshold: float = 0.05  # smallest chance to win for which a source is asked again


@dataclass(frozen=True)
class Grid:
    """prompts × sources × samples: scores (NaN: none, or no such sample) and tokens, in the order of the samples."""

    score: np.ndarray
    tokens: np.ndarray
    there: np.ndarray


def make_grid(rows: ScoredRows) -> Grid:
    cell = rows.source.astype("int64") * rows.prompts + rows.prompt
    order = np.argsort(cell, kind="stable")
    count = np.bincount(cell, minlength=len(rows.names) * rows.prompts)
    sample = np.empty(len(cell), "int64")
    sample[order] = np.arange(len(cell)) - np.repeat(np.cumsum(count) - count, count)
    shape = (rows.prompts, len(rows.names), int(count.max(initial=0)))
    score, tokens, there = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape, bool)
    place = (rows.prompt, rows.source, sample)
    score[place], tokens[place], there[place] = rows.score, rows.tokens, True
    return Grid(score, tokens, there)


def replay_rule(grid: Grid, rule: SamplingRule) -> dict:
    """Tokens that the rule would have spent, and the mean best score that it would have reached."""
    samples = grid.score.shape[2]
    asked = np.zeros(grid.score.shape, bool)
    going: np.ndarray = np.asarray(grid.there.any(axis=2))
    for start in range(0, samples, rule.round):
        asked[:, :, start : start + rule.round] |= going[:, :, None] & grid.there[:, :, start : start + rule.round]
        left = grid.there[:, :, start + rule.round :].sum(axis=2)
        if not left.any():
            break
        chance = chances_to_win(np.where(asked, grid.score, np.nan), left)
        open_cells: np.ndarray = going & (left > 0)
        hopeless = np.array(
            [mean_of(chance[open_cells[:, one], one]) < rule.threshold for one in range(going.shape[1])]
        )
        going = open_cells & (chance >= rule.threshold) & ~hopeless
    whole, part = best_of(grid.score), best_of(np.where(asked, grid.score, np.nan))
    lowest = -best_of(-grid.score)
    known = ~np.isnan(whole)
    part = np.where(np.isnan(part), lowest, part)
    return {
        "round": rule.round,
        "threshold": rule.threshold,
        "tokens": float(grid.tokens[asked].sum()),
        "of_tokens": float(grid.tokens.sum()),
        "best": exact_mean(part[known]),
        "of_best": exact_mean(whole[known]),
        "lowest": exact_mean(lowest[known]),
    }


def chances_to_win(score: np.ndarray, left: np.ndarray) -> np.ndarray:
    """The chance of each source and prompt that one of the `left` samples beats the prompt's best score so far."""
    held = (~np.isnan(score)).sum(axis=2)
    own = nan_mean(score, held)
    everyone = held.sum(axis=1)
    prompt = np.nansum(score, axis=(1, 2)) / np.maximum(everyone, 1)
    distance = np.array([mean_of((own[:, one] - prompt)[held[:, one] > 0]) for one in range(score.shape[1])])
    usual = prompt[:, None] + distance
    mean = (held * np.where(held > 0, own, 0.0) + usual) / (held + 1)
    spread = spread_of(score, own, held, usual) * np.sqrt(1 + 1 / (held + 1))
    best = best_of(score)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = ndtr((best[:, None] - mean) / spread)
    return np.where(np.isnan(below), 1.0, 1 - below**left)


def spread_of(score: np.ndarray, own: np.ndarray, held: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """The standard deviation of each source's scores around their mean on a prompt; after one sample per prompt, around the
    usual distance, which is larger: the rule is then cautious."""
    within = np.nansum((score - own[:, :, None]) ** 2, axis=(0, 2))
    degrees = np.maximum(held - 1, 0).sum(axis=0)
    around = np.nansum((score - usual[:, :, None]) ** 2, axis=(0, 2)) / np.maximum(held.sum(axis=0), 1)
    return np.sqrt(np.where(degrees > 0, within / np.maximum(degrees, 1), around))


def nan_mean(score: np.ndarray, held: np.ndarray) -> np.ndarray:
    return np.where(held > 0, np.nansum(score, axis=2) / np.maximum(held, 1), np.nan)


def mean_of(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def best_of(score: np.ndarray) -> np.ndarray:
    """Per prompt, the highest score; NaN if there is none."""
    found = np.where(np.isnan(score), -np.inf, score).max(axis=(1, 2), initial=-np.inf)
    return np.where(np.isinf(found), np.nan, found)


def replay_rules(rows: ScoredRows) -> list[dict]:
    """The curve over the thresholds, in rounds of one sample."""
    grid = make_grid(rows)
    return [replay_rule(grid, SamplingRule(1, threshold)) for threshold in THRESHOLDS]
