"""The numbers of `fuse sources` as plain loops over lists: sums of fractions, one prompt after the other."""

from fractions import Fraction
from itertools import combinations, permutations
from math import comb

Row = tuple[int, int, float | None, int]  # prompt, source, score, tokens


def mean(values: list[float]) -> float:
    return float(sum(map(Fraction, values))) / len(values)


def worlds(rows: list[Row]) -> dict[int, dict[int, list[float]]]:
    """prompt -> source -> its scores."""
    found: dict[int, dict[int, list[float]]] = {}
    for prompt, source, score, _ in rows:
        if score is not None:
            found.setdefault(prompt, {}).setdefault(source, []).append(score)
    return found


def value(of: dict[int, list[float]], members) -> float:
    lowest = min(score for scores in of.values() for score in scores)
    return max([lowest, *(score for source in members for score in of.get(source, []))])


def gain_by_levels(of: dict[int, list[float]], sources: int) -> list[float]:
    """Each rise between two neighbouring best scores, divided among the sources that reach it."""
    lowest = value(of, [])
    best = sorted((value(of, [source]), source) for source in range(sources))
    gains, reached, level = [0.0] * sources, 0.0, lowest
    for place, (score, source) in enumerate(best):
        reached += (score - level) / (sources - place)
        gains[source], level = reached, score
    return gains


def gain_by_orders(of: dict[int, list[float]], sources: int) -> list[Fraction]:
    """The definition: the mean rise over all orders in which the sources can be added."""
    gains, orders = [Fraction(0)] * sources, list(permutations(range(sources)))
    for order in orders:
        for place, source in enumerate(order):
            before, after = value(of, order[:place]), value(of, order[: place + 1])
            gains[source] += (Fraction(after) - Fraction(before)) / len(orders)
    return gains


def weigh(rows: list[Row], names: list[str]) -> dict:
    prompts, everyone = list(worlds(rows).values()), range(len(names))
    tokens = [sum(row[3] for row in rows if row[1] == source) for source in everyone]
    tops = []
    for of in prompts:
        best = max(score for scores in of.values() for score in scores)
        tops.append([source for source in everyone if best in of.get(source, [])])
    gains = [gain_by_levels(of, len(names)) for of in prompts]
    of_set = lambda members: mean([value(of, members) for of in prompts])
    return {
        "prompts": len(prompts),
        "best": of_set(everyone),
        "lowest": of_set([]),
        "tokens": sum(tokens),
        "sources": [
            {
                "source": names[source],
                "wins": sum(top == [source] for top in tops),
                "ties": sum(source in top and len(top) > 1 for top in tops),
                "alone": of_set([source]),
                "gain": mean([gain[source] for gain in gains]),
                "without": of_set([other for other in everyone if other != source]),
                "tokens": tokens[source],
                "dollars": None,
            }
            for source in everyone
        ],
        "order": order(of_set, tokens, names),
        "pairs": [pair(of_set, names, one, other) for one, other in combinations(everyone, 2)],
    }


def order(of_set, tokens: list[int], names: list[str]) -> list[dict]:
    taken, found = [], []
    while len(taken) < len(names):
        left = [source for source in range(len(names)) if source not in taken]
        ranked = sorted(left, key=lambda source: (-of_set([*taken, source]), tokens[source], source))
        taken.append(ranked[0])
        spent = sum(tokens[source] for source in taken)
        found.append({"source": names[taken[-1]], "best": of_set(taken), "tokens": spent, "dollars": None})
    return found


def pair(of_set, names: list[str], one: int, other: int) -> dict:
    lowest = of_set([])
    first, second, both = of_set([one]) - lowest, of_set([other]) - lowest, of_set([one, other]) - lowest
    overlap = (first + second - both) / min(first, second) if min(first, second) > 0 else None
    return {"one": names[one], "other": names[other], "overlap": overlap}


def expected_best(rows: list[Row], sources: int, size: int) -> float:
    """By the distribution of the best, one score after the other."""
    means = []
    for of in worlds(rows).values():
        ordered = sorted((score, source) for source in range(sources) for score in of.get(source, []))
        below, before, expected = [0] * sources, 0.0, 0.0
        for score, source in ordered:
            below[source] += 1
            chance = 1.0
            for place in range(sources):
                held = len(of.get(place, []))
                drawn = min(size, held)
                chance *= comb(below[place], drawn) / comb(held, drawn)
            expected += score * (chance - before)
            before = chance
        means.append(expected)
    return mean(means)


def expected_best_by_draws(rows: list[Row], sources: int, size: int) -> Fraction:
    """The definition: the mean over all choices of `size` scores of each source."""
    means = []
    for of in worlds(rows).values():
        bests: list[list[float]] = [[]]
        for source in range(sources):
            scores = of.get(source, [])
            draws = list(combinations(scores, min(size, len(scores)))) or [()]
            bests = [[*best, *draw] for best in bests for draw in draws]
        means.append(sum(Fraction(max(best)) for best in bests) / len(bests))
    return sum(means, Fraction(0)) / len(means)
