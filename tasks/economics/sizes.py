"""How many samples per prompt are enough: the expected best score at n samples, exactly.

n of the N stored scores are drawn without replacement. The best of all sources is at most x with the probability
prod_s C(c_s, n) / C(N_s, n), where c_s of the N_s scores of source s are at most x. A source with fewer than n scores
gives all that it has.
"""

import math

import numpy as np

from tasks.economics.rows import ScoredRows, exact_mean

EACH = 8  # sizes up to here are all computed, larger ones only at their doubles


def sizes_up_to(largest: int) -> list[int]:
    chosen = list(range(1, min(largest, EACH) + 1))
    while chosen and 2 * chosen[-1] < largest:
        chosen.append(2 * chosen[-1])
    return [*chosen, largest] if chosen and chosen[-1] < largest else chosen


def curve_of_sizes(rows: ScoredRows) -> list[dict]:
    """The expected mean best score and tokens at each n."""
    held = count_held(rows)
    tokens = np.zeros(held.shape)
    np.add.at(tokens, (rows.source, rows.prompt), rows.tokens)
    asked = np.zeros(held.shape)  # responses with and without a score: both cost tokens
    np.add.at(asked, (rows.source, rows.prompt), 1.0)
    return [
        {
            "n": size,
            "best": exact_mean(expect_best(rows, held, size)),
            "tokens": float((tokens * np.minimum(1.0, size / np.maximum(asked, 1.0))).sum()),
        }
        for size in sizes_up_to(int(held.max(initial=0)))
    ]


def count_held(rows: ScoredRows) -> np.ndarray:
    """sources × prompts: the number of scored responses."""
    held = np.zeros((len(rows.names), rows.prompts), "int64")
    scored = ~np.isnan(rows.score)
    np.add.at(held, (rows.source[scored], rows.prompt[scored]), 1)
    return held


def expect_best(rows: ScoredRows, held: np.ndarray, size: int) -> np.ndarray:
    """For each prompt the expected best score of `size` samples of each source. Goes through each prompt's scores from the
    lowest to the highest, all prompts at once."""
    scored = np.flatnonzero(~np.isnan(rows.score))
    order = scored[np.lexsort((rows.score[scored], rows.prompt[scored]))]
    count = held.sum(axis=0)
    start, chances = np.cumsum(count) - count, table_of_chances(int(held.max(initial=0)), size)
    below = np.zeros_like(held)  # scores so far, by source and prompt
    chance = chances[held, below]
    reached, expected = np.zeros(rows.prompts), np.zeros(rows.prompts)
    for place in range(int(count.max(initial=0))):
        prompts = np.flatnonzero(count > place)
        row = order[start[prompts] + place]
        source = rows.source[row]
        below[source, prompts] += 1
        chance[source, prompts] = chances[held[source, prompts], below[source, prompts]]
        here = np.multiply.reduce(chance if len(prompts) == rows.prompts else chance[:, prompts], axis=0)
        expected[prompts] += rows.score[row] * (here - reached[prompts])
        reached[prompts] = here
    return expected


def table_of_chances(largest: int, size: int) -> np.ndarray:
    """[N, c]: the probability that `size` of N scores are all among the c lowest."""
    table = np.zeros((largest + 1, largest + 1))
    for held in range(largest + 1):
        drawn = min(size, held)
        for below in range(held + 1):
            table[held, below] = math.comb(below, drawn) / math.comb(held, drawn)
    return table
