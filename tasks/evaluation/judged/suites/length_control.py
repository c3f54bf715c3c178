"""AlpacaEval's length-controlled win rate (arXiv 2404.04475): a logistic model predicts the preference from length,
difficulty and model; then its length term is set to zero.

P(candidate preferred | x) = sigma(w1 tanh(d_x) + w2 g_x + w3 [x is the candidate's]). d_x is the baseline's length minus the
candidate's length, in characters, divided by the standard deviation. g_x is the published difficulty of the instruction.
The rows of two published models (one prompted to be verbose, one to be concise) regularise the fit with weight 0.1 each.
LC = 100 mean sigma(w2 g_x + w3).
"""

import warnings

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import make_scorer

FOLDS = 5
REGULARISER = 0.1  # lambda 0.2, divided between two models
NEWTON_STEPS = 10
RIDGE = 1e-6
DRAWS_PER_BATCH = 50  # bootstrap draws that are fitted together


def make_length_features(rows: pd.DataFrame, gamed: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Design matrix, soft labels and weights: the gamed models' rows, then the candidate's, sorted by instruction.

    Difficulty is joined by instruction. The published library joins by position, which is wrong after a missing row."""
    rows = rows.sort_values("instruction_index")
    difficulty = gamed.drop_duplicates("index").set_index("index")["instruction_difficulty"]
    candidate = np.stack(
        [squash_length_gaps(compute_length_gaps(rows)), difficulty.loc[rows["instruction_index"]], np.ones(len(rows))],
        axis=1,
    )
    gamed_design = np.stack(
        [np.tanh(gamed["std_delta_len"]), gamed["instruction_difficulty"], np.zeros(len(gamed))], axis=1
    )
    labels = np.concatenate([gamed["preference"], read_preferences(rows)])
    weights = np.concatenate([np.full(len(gamed), REGULARISER), np.ones(len(rows))])
    return np.concatenate([gamed_design, candidate]), labels, weights


def compute_length_gaps(rows: pd.DataFrame) -> np.ndarray:
    return (rows["len_1"] - rows["len_2"]).to_numpy(dtype=float)


def squash_length_gaps(differences: np.ndarray) -> np.ndarray:
    """tanh of the length differences divided by their standard deviation; 0 if all differences are equal."""
    spread = differences.std(axis=-1, ddof=1, keepdims=True)
    return np.tanh(np.divide(differences, spread, out=np.zeros_like(differences), where=spread > 0))


def read_preferences(rows: pd.DataFrame) -> np.ndarray:
    """Preferences from 0 to 1. Published files use 1 to 2; older ones write 0 for a draw."""
    return rows["preference"].replace({0.0: 1.5}).to_numpy(dtype=float) - 1


def fit_controlled_rate(rows: pd.DataFrame, gamed: pd.DataFrame) -> float:
    """LC as published: L1 penalty, C chosen by five folds.

    scikit-learn has no soft labels, so each row with label p enters twice: as a 1 with weight p and as a 0 with 1 - p."""
    design, labels, weights = make_length_features(rows, gamed)
    doubled, twice = np.concatenate([design, design]), np.concatenate([weights, weights])
    soft = np.concatenate([labels, 1 - labels])
    binary = np.repeat([1, 0], len(labels))
    with config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # about arguments that newer versions rename; the version is pinned
        scorer = make_scorer(compute_soft_log_loss, response_method="predict_proba", greater_is_better=False)
        model = LogisticRegressionCV(
            Cs=10,
            cv=split_in_folds(len(labels)),
            l1_ratios=(1.0,),  # pyright: ignore[reportArgumentType]
            solver="liblinear",
            fit_intercept=False,
            random_state=123,
            scoring=scorer.set_score_request(label=True, weight=True),  # pyright: ignore[reportArgumentType]
        )
        model.set_fit_request(sample_weight=True)
        model.fit(doubled, binary, sample_weight=soft * twice, label=soft, weight=twice)
    _, by_difficulty, of_candidate = np.ravel(model.coef_)
    return compute_controlled_rate(design[len(gamed) :, 1], by_difficulty, of_candidate)


def split_in_folds(rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The folds of scikit-learn's GroupKFold(5), where the two copies of a row are a group.

    GroupKFold sorts the groups by size. All have one size, so the folds would depend on how numpy's sort leaves equal elements,
    which differs between its versions and between processors; here they stay in order. The losses of the larger C differ
    by 1e-6, so folds and the solver's random steps decide between them: 31 of 52 published models agree to 1e-6, 40 with the
    order of numpy's quicksort before 2.0, 45 of 50 names with one of the two; the others differ by at most 0.152."""
    fold = np.tile(np.arange(rows)[::-1] % FOLDS, 2)
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(FOLDS)]


def compute_soft_log_loss(
    binary: np.ndarray, predicted: np.ndarray, label: np.ndarray, weight: np.ndarray
) -> np.floating:
    soft = np.where(binary == 1, label, 1 - label)
    predicted = np.clip(predicted, 1e-15, 1 - 1e-15)
    return -np.mean(weight * (soft * np.log(predicted) + (1 - soft) * np.log(1 - predicted)))


def compute_controlled_rate(difficulty: np.ndarray, by_difficulty: float, of_candidate: float) -> float:
    return float(100 * sigmoid(by_difficulty * difficulty + of_candidate).mean())


def refit_controlled_rates(rows: pd.DataFrame, gamed: pd.DataFrame, drawn: np.ndarray) -> np.ndarray:
    """LC of each bootstrap draw; the model is fitted again for each. A draw is a row of indices into the sorted rows."""
    rows = rows.sort_values("instruction_index")
    design, labels, _ = make_length_features(rows, gamed)
    rates = []
    for places in np.array_split(drawn, max(1, len(drawn) // DRAWS_PER_BATCH)):
        candidate = design[len(gamed) :][places]
        candidate[..., 0] = squash_length_gaps(compute_length_gaps(rows)[places])
        fitted = fit_by_newton(candidate, labels[len(gamed) :][places], design[: len(gamed)], labels[: len(gamed)])
        rates.append(100 * sigmoid(candidate[..., 1] * fitted[:, 1:2] + fitted[:, 2:]).mean(axis=1))
    return np.concatenate(rates)


def fit_by_newton(
    candidate: np.ndarray, candidate_labels: np.ndarray, gamed_design: np.ndarray, gamed_labels: np.ndarray
) -> np.ndarray:
    """Weights of the same model without L1 penalty, fitted for many draws at once by Newton's method."""
    weights = np.zeros((len(candidate), candidate.shape[2]))
    for _ in range(NEWTON_STEPS):
        slope, curvature = compute_derivatives(candidate, candidate_labels, weights)
        of_gamed = compute_derivatives(gamed_design[None], gamed_labels, weights)
        slope, curvature = slope + REGULARISER * of_gamed[0], curvature + REGULARISER * of_gamed[1]
        weights = weights + np.linalg.solve(curvature + RIDGE * np.eye(candidate.shape[2]), slope[..., None])[..., 0]
    return weights


def compute_derivatives(design: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted = sigmoid((design @ weights[..., None])[..., 0])
    slope = ((labels - predicted)[:, None, :] @ design)[:, 0]
    return slope, np.swapaxes(design, 1, 2) @ (design * (predicted * (1 - predicted))[..., None])


def sigmoid(value: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -value))
