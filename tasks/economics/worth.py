"""What each source adds to the best reward: wins, gains, losses without it, a greedy order, and overlaps between sources.

The gain of a source is the mean rise of the best reward when the source is added, over all orders in which the sources can be
added. For a maximum it has a closed form (Littlechild and Owen 1973, the airport game): each rise between two neighbouring
best scores is divided equally among the sources that reach it. The gains of all sources add up to the whole rise.
"""

import numpy as np

from tasks.economics.rows import BestScores, exact_mean


def weigh_sources(scores: BestScores, tokens: np.ndarray, dollars: list[float | None], names: tuple[str, ...]) -> dict:
    """All numbers of one set of prompts, as plain values."""
    everyone = list(range(len(names)))
    whole, lowest = exact_mean(scores.of(everyone)), exact_mean(scores.floor)
    wins, ties = count_wins(scores.best)
    gains = [exact_mean(column) for column in share_gains(scores).T]
    return {
        "prompts": len(scores.floor),
        "best": whole,
        "lowest": lowest,
        "tokens": int(tokens.sum()),
        "sources": [
            {
                "source": name,
                "wins": int(wins[place]),
                "ties": int(ties[place]),
                "alone": exact_mean(scores.of([place])),
                "gain": gains[place],
                "without": exact_mean(scores.of([other for other in everyone if other != place])),
                "tokens": int(tokens[place]),
                "dollars": dollars[place],
            }
            for place, name in enumerate(names)
        ],
        "order": order_greedily(scores, tokens, dollars, names),
        "pairs": compare_pairs(scores, names),
    }


def count_wins(best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per source: prompts where only this source has the best score, and prompts where it shares the best score."""
    top = best == best.max(axis=1, keepdims=True)
    shared = top.sum(axis=1, keepdims=True) > 1
    return (top & ~shared).sum(axis=0), (top & shared).sum(axis=0)


def share_gains(scores: BestScores) -> np.ndarray:
    """For each prompt and source, the rise of the best score that is due to the source."""
    values = np.maximum(scores.best, scores.floor[:, None])
    order = np.argsort(values, axis=1, kind="stable")
    sorted_values = np.take_along_axis(values, order, axis=1)
    rises = sorted_values - np.column_stack([scores.floor, sorted_values[:, :-1]])
    reached_by = np.arange(values.shape[1], 0, -1)  # the lowest rise is reached by all sources, the highest by one
    gains = np.empty_like(values)
    np.put_along_axis(gains, order, np.cumsum(rises / reached_by, axis=1), axis=1)
    return gains


def order_greedily(
    scores: BestScores, tokens: np.ndarray, dollars: list[float | None], names: tuple[str, ...]
) -> list[dict]:
    """The sources, each time the one that raises the mean best score most; of equal ones the one with fewer tokens, then
    the first. With the sums of tokens and money so far."""
    left, reached, found, spent, money = list(range(len(names))), scores.floor, [], 0, 0.0
    known = all(value is not None for value in dollars)
    while left:
        values = {place: exact_mean(np.maximum(reached, scores.best[:, place])) for place in left}
        chosen = max(left, key=lambda place: (values[place], -tokens[place], -place))
        left.remove(chosen)
        reached, spent = np.maximum(reached, scores.best[:, chosen]), spent + int(tokens[chosen])
        money += dollars[chosen] or 0.0
        found.append(
            {
                "source": names[chosen],
                "best": values[chosen],
                "tokens": spent,
                "dollars": money if known else None,
            }
        )
    return found


def compare_pairs(scores: BestScores, names: tuple[str, ...]) -> list[dict]:
    """For each pair of sources, how much of the weaker one's value the stronger one already has: 1 means that the weaker
    one adds nothing to it, 0 that their values add up."""
    lowest = exact_mean(scores.floor)
    alone = [exact_mean(scores.of([place])) - lowest for place in range(len(names))]
    found = []
    for one in range(len(names)):
        for other in range(one + 1, len(names)):
            both = exact_mean(scores.of([one, other])) - lowest
            weaker = min(alone[one], alone[other])
            overlap = (alone[one] + alone[other] - both) / weaker if weaker > 0 else None
            found.append({"one": names[one], "other": names[other], "overlap": overlap})
    return found
