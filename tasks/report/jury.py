"""Compares reward models on the same responses: their agreement, their ties, and the influence of length on their scores.

Correlations are over all responses that both models scored. The residual of a score is its distance from a straight line over
tokens, plus the model's mean score. A source's mean residual shows how its responses score apart from their length. Responses
of a data set have no token counts, and then no residual.
"""

import itertools

import numpy as np
import pandas as pd

ORDER = ["priority", "sample_index", "content_id"]  # breaks ties, after the score


def join_scores(scored: dict[str, dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """A row per response, with a column of scores per reward model. `scored`: reward model -> source -> responses."""
    key, whole = ["priority", "prompt_id", "sample_index"], None
    for name, candidates in scored.items():
        rows = [part.assign(source=source, priority=place) for place, (source, part) in enumerate(candidates.items())]
        one_model = pd.concat(rows).rename(columns={"score": f"score {name}"})
        scores = one_model[[*key, f"score {name}"]]
        whole = one_model if whole is None else whole.merge(scores, on=key, validate="one_to_one")
    assert whole is not None  # there is at least one reward model
    return whole.reset_index(drop=True)


def compare_jurors(rows: pd.DataFrame, names: list[str]) -> dict:
    return {
        "models": [summarise_juror(rows, name) for name in names],
        "agreements": [compare_two_jurors(rows, *pair) for pair in itertools.combinations(names, 2)],
    }


def summarise_juror(rows: pd.DataFrame, name: str) -> dict:
    """One reward model: its ties, its correlation with length, and each source's mean score and mean residual."""
    known = rows.dropna(subset=f"score {name}")
    counted = known.dropna(subset="tokens")
    score, tokens = counted[f"score {name}"].to_numpy(float), counted["tokens"].to_numpy(float)
    rest = pd.Series(remove_length_trend(score, tokens), counted.index).reindex(known.index)
    return {
        "name": name,
        "responses": len(known),
        "unscored": len(rows) - len(known),
        "ties": share_of_ties(known, f"score {name}"),
        "length_pearson": pearson_correlation(score, tokens),
        "length_spearman": spearman_correlation(score, tokens),
        "sources": [
            {"source": source, "mean": float(part[f"score {name}"].mean()), "residual": mean_or_none(rest[part.index])}
            for source, part in known.groupby("source", sort=False)
        ],
    }


def mean_or_none(values: pd.Series) -> float | None:
    return None if values.isna().all() else float(values.mean())


def compare_two_jurors(rows: pd.DataFrame, one: str, other: str) -> dict:
    both = rows.dropna(subset=[f"score {one}", f"score {other}"])
    scores = [both[f"score {name}"].to_numpy(float) for name in (one, other)]
    tops = [best_contents(both, f"score {name}") for name in (one, other)]
    return {
        "one": one,
        "other": other,
        "responses": len(both),
        "pearson": pearson_correlation(*scores),
        "spearman": spearman_correlation(*scores),
        "top": float((tops[0] == tops[1]).mean()) if len(both) else None,
    }


def best_contents(rows: pd.DataFrame, score: str) -> pd.Series:
    """The content id of each prompt's best response. Ties: first source, then first sample, then first content id."""
    order = rows.sort_values([score, *ORDER], ascending=[False, True, True, True])
    return order.drop_duplicates("prompt_id").set_index("prompt_id")["content_id"].sort_index()


def share_of_ties(rows: pd.DataFrame, score: str) -> float | None:
    """The share of prompts where two different responses have the best score."""
    top = rows[rows[score] == rows.groupby("prompt_id")[score].transform("max")]
    return float((top.groupby("prompt_id")["content_id"].nunique() > 1).mean()) if len(rows) else None


def pearson_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson's correlation; None if one of the arrays is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def spearman_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson's correlation of the ranks; equal values get the mean of their ranks."""
    return pearson_correlation(*(pd.Series(values).rank().to_numpy() for values in (one, other)))


def remove_length_trend(score: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """The score minus its least-squares line over tokens, plus the mean score."""
    if len(score) < 2 or np.ptp(tokens) == 0:
        return score
    apart = tokens - tokens.mean()
    return score - (apart @ score) / (apart @ apart) * apart
