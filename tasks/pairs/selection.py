"""Applies a rule: for every prompt a response per role, or the reason why there is no record. Works on numbers, not on text.

`sources` and `own` are tables of candidates (prompt, source, sample, row, tokens, score, check), see `candidates.py`. A
prompt is an index below `count`. Nothing here loops over prompts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from tasks.pairs.rules import (
    Best,
    BestCorrect,
    ChoosingRule,
    Code,
    Cut,
    Hybrid,
    Math,
    OnePairRule,
    OnPolicy,
    SameSource,
    ScoreGap,
    Wrpo,
)

Chosen = dict[str, pd.DataFrame]  # role -> a row per prompt: source (-1: no response), row, score
Same = Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]  # whether two chosen responses are the same text


@dataclass
class Selection:
    """The chosen responses. `kept` marks prompts with a record; every other prompt is counted under one `dropped_…`."""

    chosen: Chosen
    kept: np.ndarray
    counts: dict[str, int]


@dataclass(frozen=True)
class Candidates:
    """The responses that a rule may choose, best first for each prompt."""

    sources: pd.DataFrame
    own: pd.DataFrame

    def allowed(self, cut: Cut) -> "Candidates":
        """Removes responses that were cut off, unless `cut` allows them."""
        if cut == "learned":
            return self
        return Candidates(self.sources[~self.sources["cut_off"]], self.own[~self.own["cut_off"]])


def select_rows(
    rule: ChoosingRule, wanted: np.ndarray, sources: pd.DataFrame, own: pd.DataFrame, same: Same
) -> Selection:
    """Applies a rule to the prompts marked in `wanted`. `sources`: candidates only from the sources that the rule reads."""
    counts: dict[str, int] = {}
    everything = Candidates(*(rank_rows(taking_part(rule, rows, wanted, counts)) for rows in (sources, own)))
    counts["responses_cut_off"] = int(sum(rows["cut_off"].sum() for rows in (everything.sources, everything.own)))
    kept = wanted.copy()
    chosen = by_role(rule, everything, everything, len(wanted))
    drop_prompts(kept, find_missing_roles(rule, chosen, everything.sources, len(wanted)), counts)
    if counts["responses_cut_off"]:
        better = everything.allowed(rule.cut_chosen)
        worse = everything.allowed(cast("OnePairRule", rule).cut_rejected) if list_contrasts(rule) else better
        chosen = by_role(rule, better, worse, len(wanted))
        drop_prompts(kept, {"only_cut_off": find_empty(chosen)}, counts)
    for better, worse in list_contrasts(rule):
        equal = np.zeros(len(kept), bool)
        equal[kept] = same(chosen[better][kept], chosen[worse][kept])
        drop_prompts(kept, {"equal_responses": equal}, counts)
    drop_prompts(kept, find_unfit(rule, chosen, kept), counts)
    return Selection(chosen, kept, counts)


def drop_prompts(kept: np.ndarray, reasons: dict[str, np.ndarray], counts: dict[str, int]) -> None:
    for reason, lost in reasons.items():
        name = f"dropped_{reason}"
        counts[name] = counts.get(name, 0) + int((kept & lost).sum())
        kept &= ~lost


def taking_part(rule: ChoosingRule, rows: pd.DataFrame, wanted: np.ndarray, counts: dict[str, int]) -> pd.DataFrame:
    """The responses that a rule may choose; counts the others under the first reason that applies."""
    left = wanted[rows["prompt"].to_numpy()]
    reasons = {"responses_without_score": rows["score"].isna(), "responses_too_short": rows["tokens"] < rule.min_tokens}
    if rule.reads_checks:
        reasons["responses_without_check"] = rows["check"].isna()
    for name, lost in reasons.items():
        counts[name] = counts.get(name, 0) + int((left & lost.to_numpy()).sum())
        left &= ~lost.to_numpy()
    return rows if left.all() else rows[left]


def rank_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Sorts by prompt, best response first: score, then source order, then sample index."""
    keys = (rows["sample"], rows["source"], -rows["score"], rows["prompt"])
    return rows.take(np.lexsort([key.to_numpy() for key in keys]))


def by_role(rule: ChoosingRule, better: Candidates, worse: Candidates, count: int) -> Chosen:
    """For each role, a table with one response per prompt."""
    return {role: laid_out(rows, count) for role, rows in choose_rows(rule, better, worse, count).items()}


def find_empty(chosen: Chosen) -> np.ndarray:
    """Marks prompts that lack a response for some role."""
    return np.any([rows["source"] < 0 for rows in chosen.values()], axis=0)


def choose_rows(rule: ChoosingRule, better: Candidates, worse: Candidates, count: int) -> Chosen:
    """For each role, at most one row per prompt: preferred responses from `better`, rejected ones from `worse`."""
    sources, own = better.sources, better.own
    match rule:
        case Best():
            return {"best": take_best(sources)}
        case BestCorrect():
            return {"best": take_best(sources[sources["check"] == 1])}
        case Wrpo():
            preferred = {"source_best": take_best(sources, rule.rank), "own_best": take_best(own)}
            source_worst = {"source_worst": take_worst(worse.sources)} if rule.source_worst else {}
            return preferred | {"own_worst": take_worst(worse.own)} | source_worst
        case OnPolicy():
            return {"own_best": take_best(own), "own_worst": take_worst(worse.own)}
        case Hybrid():
            return {"source_best": take_best(sources), "own_worst": take_worst(worse.own)}
        case SameSource():
            first = take_best(sources)
            return {"source_best": first, "source_worst": take_worst(of_same_source(worse.sources, first, count))}
        case Math() | Code():
            right, wrong = sources[sources["check"] == 1], worse.sources[worse.sources["check"] == 0]
            if not rule.same_source:
                return {"source_best": take_best(right), "source_worst": take_worst(wrong)}
            first = take_best(right[np.isin(prompt_and_source(right), prompt_and_source(wrong))])
            return {"source_best": first, "source_worst": take_worst(of_same_source(wrong, first, count))}
    raise TypeError(f"{type(rule).__name__} is not a rule that chooses responses")


def take_best(rows: pd.DataFrame, rank: int = 1) -> pd.DataFrame:
    return rows.drop_duplicates("prompt") if rank == 1 else rows[rows.groupby("prompt").cumcount() == rank - 1]


def take_worst(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop_duplicates("prompt", keep="last")


def of_same_source(rows: pd.DataFrame, first: pd.DataFrame, count: int) -> pd.DataFrame:
    """The rows from the same source as the prompt's row in `first`."""
    return rows[laid_out(first, count)["source"].to_numpy()[rows["prompt"]] == rows["source"]]


def prompt_and_source(rows: pd.DataFrame) -> np.ndarray:
    return rows["prompt"].to_numpy().astype("int64") << 16 | rows["source"].to_numpy()


def laid_out(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """A table with one row for each of `count` prompts; source -1 for prompts without a row."""
    found = {"source": np.full(count, -1), "row": np.full(count, -1), "score": np.full(count, np.nan)}
    for name, values in found.items():
        values[rows["prompt"]] = rows[name]
    return pd.DataFrame(found)


def find_missing_roles(rule: ChoosingRule, chosen: Chosen, sources: pd.DataFrame, count: int) -> dict[str, np.ndarray]:
    """Marks prompts that lack a response for some role, by reason."""
    if not rule.reads_checks:
        return {"without_response": find_empty(chosen)}
    answered, right, wrong = (np.zeros(count, bool) for _ in range(3))
    answered[sources["prompt"]] = True
    right[sources.loc[sources["check"] == 1, "prompt"]] = True
    wrong[sources.loc[sources["check"] == 0, "prompt"]] = True
    reasons = {"without_response": ~answered, "none_correct": ~right}
    return (
        reasons
        if isinstance(rule, BestCorrect)
        else reasons | {"none_incorrect": ~wrong, "no_source_with_both": find_empty(chosen)}
    )


def list_contrasts(rule: ChoosingRule) -> list[tuple[str, str]]:
    """Pairs of roles (better, worse); the score gap is measured on the first pair."""
    match rule:
        case Best() | BestCorrect():
            return []
        case Wrpo(source_worst=True):
            return [("own_best", "own_worst"), ("source_best", "own_worst"), ("source_best", "source_worst")]
        case Wrpo():
            return [("own_best", "own_worst"), ("source_best", "own_worst")]
        case OnPolicy():
            return [("own_best", "own_worst")]
        case Hybrid():
            return [("source_best", "own_worst")]
    return [("source_best", "source_worst")]


def find_unfit(rule: ChoosingRule, chosen: Chosen, kept: np.ndarray) -> dict[str, np.ndarray]:
    """Marks prompts whose two responses have too small or too large a score gap, by reason."""
    if not list_contrasts(rule):
        return {}
    better, worse = list_contrasts(rule)[0]
    gap = (chosen[better]["score"] - chosen[worse]["score"]).to_numpy()
    match rule:
        case SameSource():
            flat = ~(gap > 0)
            return {"no_margin": flat, "outside_gap": is_outside(rule.gap, gap, kept & ~flat)}
        case Math() | Code():
            return {"outside_gap": is_outside(rule.gap, gap, kept)} if rule.gap else {}
    return {"no_margin": ~(gap > cast("Wrpo | OnPolicy | Hybrid", rule).margin)}


def is_outside(window: ScoreGap, gap: np.ndarray, kept: np.ndarray) -> np.ndarray:
    low, high = window.low, np.inf if window.high is None else window.high
    if window.unit == "quantile" and kept.any():
        low = np.quantile(gap[kept], low, method="lower")
        high = np.quantile(gap[kept], min(high, 1.0), method="higher")
    return ~((gap >= low) & (gap <= high))
