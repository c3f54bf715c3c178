"""One line of advice with its numbers: which source costs most for what it adds, and which n is enough."""

ENOUGH = 0.01  # share of the rise above the lowest score that a smaller n may lose


def advise(overall: dict, sizes: list[dict]) -> list[str]:
    return [*advise_source(overall), *advise_size(overall, sizes)]


def advise_source(overall: dict) -> list[str]:
    """The source whose absence loses the smallest share of the rise for its share of the tokens."""
    rise, tokens = overall["best"] - overall["lowest"], overall["tokens"]
    if len(overall["sources"]) < 2 or rise <= 0 or tokens == 0:
        return []
    lost = lambda source: (overall["best"] - source["without"]) / rise
    costs = lambda source: source["tokens"] / tokens
    counted = [source for source in overall["sources"] if source["tokens"]]
    chosen = min(counted, key=lambda source: lost(source) / costs(source))
    line = f"without {chosen['source']}: {describe_loss(overall, chosen['without'])}, {-costs(chosen):+.1%} of tokens"
    return [line if lost(chosen) < costs(chosen) else f"every source earns its tokens; the least is {line}"]


def advise_size(overall: dict, sizes: list[dict]) -> list[str]:
    """The smallest n that keeps almost the whole rise."""
    if len(sizes) < 2 or not sizes[-1]["tokens"]:
        return []
    last, rise = sizes[-1], sizes[-1]["best"] - overall["lowest"]
    chosen = next(size for size in sizes if last["best"] - size["best"] <= ENOUGH * max(rise, 0.0))
    if chosen is last:
        return [f"n = {last['n']}: a smaller n loses more than {ENOUGH:.0%} of the rise above the lowest score"]
    loss, saved = describe_loss(overall, chosen["best"]), chosen["tokens"] / last["tokens"] - 1
    return [f"n = {chosen['n']} instead of {last['n']}: {loss}, {saved:+.1%} of tokens"]


def describe_loss(overall: dict, value: float) -> str:
    """The change of the best reward: in percent of it, if it is positive; always in percent of its rise above the lowest."""
    change, rise = value - overall["best"], overall["best"] - overall["lowest"]
    relative = f"{change / overall['best']:+.2%} of best reward" if overall["best"] > 0 else f"{change:+.4g} of reward"
    return f"{relative} ({change / rise:+.2%} of its rise above the lowest score)" if rise > 0 else relative
