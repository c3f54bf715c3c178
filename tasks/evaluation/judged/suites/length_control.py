"""AlpacaEval's length-controlled win rate: a logistic model of preference by length, difficulty and model, length then set
to nothing.

P(candidate preferred | x) = sigma(w1 tanh(d_x) + w2 g_x + w3 [x is the candidate's]); d_x is the baseline's length minus the
candidate's in characters over its standard deviation, g_x the instruction's published difficulty. Two published models,
told to be verbose and to be concise, regularise it (weight 0.1 a row). LC = 100 mean sigma(w2 g_x + w3).
(arXiv 2404.04475)
"""

import warnings

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import make_scorer
from sklearn.model_selection import GroupKFold

REGULARISER = 0.1  # lambda 0.2, shared by two models
NEWTON_STEPS = 10
RIDGE = 1e-6
AT_ONCE = 50  # draws that are fitted together


def features(rows: pd.DataFrame, gamed: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Design, soft labels and weights: the gamed models' rows, then the candidate's by instruction, in whatever order
    these came. Difficulty is joined by instruction (the library reads it by position, and shifts after a gap)."""
    rows = rows.sort_values("instruction_index")
    difficulty = gamed.drop_duplicates("index").set_index("index")["instruction_difficulty"]
    own = np.stack([lengths(gap(rows)), difficulty.loc[rows["instruction_index"]], np.ones(len(rows))], axis=1)
    other = np.stack([np.tanh(gamed["std_delta_len"]), gamed["instruction_difficulty"], np.zeros(len(gamed))], axis=1)
    labels = np.concatenate([gamed["preference"], preferences(rows)])
    weights = np.concatenate([np.full(len(gamed), REGULARISER), np.ones(len(rows))])
    return np.concatenate([other, own]), labels, weights


def gap(rows: pd.DataFrame) -> np.ndarray:
    return (rows["len_1"] - rows["len_2"]).to_numpy(dtype=float)


def lengths(differences: np.ndarray) -> np.ndarray:
    """Differences of length over their standard deviation, squashed; nothing where all differ alike."""
    spread = differences.std(axis=-1, ddof=1, keepdims=True)
    return np.tanh(np.divide(differences, spread, out=np.zeros_like(differences), where=spread > 0))


def preferences(rows: pd.DataFrame) -> np.ndarray:
    """In [0, 1]; published files hold 1 to 2, and 0 in older ones for a draw."""
    return rows["preference"].replace({0.0: 1.5}).to_numpy(dtype=float) - 1


def length_controlled(rows: pd.DataFrame, gamed: pd.DataFrame) -> float:
    """The published number, with the published fit: L1, C by five folds, a row with label p as p of a 1 and 1 - p of a 0."""
    design, labels, weights = features(rows, gamed)
    doubled, twice = np.concatenate([design, design]), np.concatenate([weights, weights])
    soft = np.concatenate([labels, 1 - labels])
    binary = np.repeat([1, 0], len(labels))
    with config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # the fit is pinned; its arguments' new names are not our concern
        scorer = make_scorer(soft_log_loss, response_method="predict_proba", greater_is_better=False)
        model = LogisticRegressionCV(
            Cs=10,
            cv=GroupKFold(n_splits=5),
            l1_ratios=(1.0,),
            solver="liblinear",
            fit_intercept=False,
            random_state=123,
            scoring=scorer.set_score_request(label=True, weight=True),
        )
        model.set_fit_request(sample_weight=True)
        groups = np.tile(np.arange(len(labels)), 2)
        model.fit(doubled, binary, sample_weight=soft * twice, groups=groups, label=soft, weight=twice)
    _, by_difficulty, own = np.ravel(model.coef_)
    return controlled(design[len(gamed) :, 1], by_difficulty, own)


def soft_log_loss(binary: np.ndarray, predicted: np.ndarray, label: np.ndarray, weight: np.ndarray) -> float:
    soft = np.where(binary == 1, label, 1 - label)
    predicted = np.clip(predicted, 1e-15, 1 - 1e-15)
    return -np.mean(weight * (soft * np.log(predicted) + (1 - soft) * np.log(1 - predicted)))


def controlled(difficulty: np.ndarray, by_difficulty: float, own: float) -> float:
    return float(100 * sigmoid(by_difficulty * difficulty + own).mean())


def refit(rows: pd.DataFrame, gamed: pd.DataFrame, drawn: np.ndarray) -> np.ndarray:
    """LC of each draw of instructions (a row of places among the sorted rows), the model fitted anew each time."""
    rows = rows.sort_values("instruction_index")
    design, labels, _ = features(rows, gamed)
    found = []
    for places in np.array_split(drawn, max(1, len(drawn) // AT_ONCE)):
        own = design[len(gamed) :][places]
        own[..., 0] = lengths(gap(rows)[places])
        fitted = newton(own, labels[len(gamed) :][places], design[: len(gamed)], labels[: len(gamed)])
        found.append(100 * sigmoid(own[..., 1] * fitted[:, 1:2] + fitted[:, 2:]).mean(axis=1))
    return np.concatenate(found)


def newton(own: np.ndarray, own_labels: np.ndarray, other: np.ndarray, other_labels: np.ndarray) -> np.ndarray:
    """The same model without its L1 penalty, for many draws at once."""
    weights = np.zeros((len(own), own.shape[2]))
    for _ in range(NEWTON_STEPS):
        slope, curvature = derivatives(own, own_labels, weights)
        of_other = derivatives(other[None], other_labels, weights)
        slope, curvature = slope + REGULARISER * of_other[0], curvature + REGULARISER * of_other[1]
        weights = weights + np.linalg.solve(curvature + RIDGE * np.eye(own.shape[2]), slope[..., None])[..., 0]
    return weights


def derivatives(design: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted = sigmoid((design @ weights[..., None])[..., 0])
    slope = ((labels - predicted)[:, None, :] @ design)[:, 0]
    return slope, np.swapaxes(design, 1, 2) @ (design * (predicted * (1 - predicted))[..., None])


def sigmoid(value: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -value))
