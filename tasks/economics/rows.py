"""Scored responses of all sources as arrays, and the sums that do not depend on the order of their terms.

The value of some sources is the mean, over prompts, of their best score. A prompt that none of them answered counts with
its floor: the lowest score that any source got for it.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ScoredRows:
    """One element per response, ordered by source and sample."""

    names: tuple[str, ...]  # of the sources
    prompt: np.ndarray  # index of the prompt
    source: np.ndarray  # index of the source in `names`
    score: np.ndarray  # NaN: no score
    tokens: np.ndarray  # 0 if nobody counted them

    @property
    def prompts(self) -> int:
        return int(self.prompt.max()) + 1 if len(self.prompt) else 0

    def of_source(self, place: int) -> "ScoredRows":
        """The rows of one source, on the prompts for which it has a score."""
        mine = self.source == place
        scored = np.zeros(self.prompts, bool)
        scored[self.prompt[mine & ~np.isnan(self.score)]] = True
        mine, number = mine & scored[self.prompt], np.cumsum(scored) - 1
        return ScoredRows(
            (self.names[place],),
            number[self.prompt[mine]],
            np.zeros(int(mine.sum()), "int64"),
            self.score[mine],
            self.tokens[mine],
        )

    def tokens_by_source(self, kept: np.ndarray) -> np.ndarray:
        """The tokens of each source on the prompts where `kept` is true."""
        mine = kept[self.prompt]
        return np.bincount(self.source[mine], self.tokens[mine], len(self.names)).astype("int64")


@dataclass(frozen=True)
class BestScores:
    """For each prompt: the best score of each source (-inf if it has none), and the lowest score of any response."""

    best: np.ndarray  # prompts × sources
    floor: np.ndarray  # prompts

    def of(self, members: list[int]) -> np.ndarray:
        """For each prompt, the best score of these sources."""
        return np.maximum(self.floor, self.best[:, members].max(axis=1, initial=-np.inf))

    def take(self, kept: np.ndarray) -> "BestScores":
        return BestScores(self.best[kept], self.floor[kept])

    @property
    def scored(self) -> np.ndarray:
        """Whether any response to the prompt has a score."""
        return np.isfinite(self.floor)


def best_scores(rows: ScoredRows) -> BestScores:
    scored = ~np.isnan(rows.score)
    prompt, score = rows.prompt[scored].astype("int64"), rows.score[scored]
    best, floor = np.full(rows.prompts * len(rows.names), -np.inf), np.full(rows.prompts, np.inf)
    np.maximum.at(best, prompt * len(rows.names) + rows.source[scored], score)
    np.minimum.at(floor, prompt, score)
    return BestScores(best.reshape(rows.prompts, -1), floor)


def exact_mean(values: np.ndarray) -> float:
    """The mean, with a correctly rounded sum: the same for every order of the values."""
    return math.fsum(values.tolist()) / len(values)
