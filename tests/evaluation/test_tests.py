"""The exact tests and corrections against SciPy, and against what can be counted by hand."""

import numpy as np
import pytest
from scipy import stats

from tasks.evaluation.statistics import (
    clustered,
    compute_overall_score,
    holm,
    interval,
    mcnemar,
    rank_correlation,
    reading,
    sign_flips,
    within_noise,
)


@pytest.mark.parametrize("seed", range(4))
def test_mcnemar_is_the_binomial_test_of_the_prompts_that_changed(seed):
    draw = np.random.default_rng(seed)
    before, after = draw.random(300) < 0.5, draw.random(300) < 0.5 + 0.05 * seed
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    assert mcnemar(before, after) == pytest.approx(stats.binomtest(gained, gained + lost).pvalue, rel=1e-12)


def test_mcnemar_of_equal_answers_is_one():
    same = np.array([True, False])
    assert mcnemar(same, same) == 1


def test_sign_flips_agree_with_the_permutation_test():
    differences = np.random.default_rng(2).normal(0.15, 1, 120)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9999, random_state=1
    ).pvalue
    assert sign_flips(differences, seed=1) == pytest.approx(theirs, abs=0.015)
    assert sign_flips(np.zeros(5), seed=1) == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_rows_of_one_question_are_drawn_together():
    """Every row four times says nothing new: the interval by questions stays, the one by rows would halve."""
    values = np.random.default_rng(1).normal(size=200)
    four = np.repeat(values, 4)
    by_question = clustered(four, np.ones(800), np.repeat(np.arange(200), 4), 0.95, seed=1)
    alone = interval(values, 0.95, seed=1)
    assert by_question["value"] == pytest.approx(alone["value"])
    assert by_question["high"] - by_question["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.05)


def test_clusters_may_bear_any_names_and_weights_count():
    found = clustered(np.array([1.0, 0.0]), np.array([3.0, 1.0]), ["b", "a"], 0.9, seed=1)
    assert found == {"value": 0.75, "low": 0.0, "high": 1.0}


def test_a_difference_is_within_noise_when_its_interval_holds_nothing():
    assert within_noise({"value": 1, "low": -0.1, "high": 2}) and not within_noise({"value": 1, "low": 0.1, "high": 2})


def test_a_small_p_that_the_family_makes_large_is_noise_too():
    change = {"value": -1, "low": -2, "high": -0.5}
    assert reading(change, 0.04, 0.95) == "lower" and reading(change, 0.06, 0.95) == "within noise"
    assert reading({"value": 1, "low": -0.1, "high": 2}, 0.001, 0.95) == "within noise"


def test_ten_point_scales_are_percentages_before_they_are_averaged():
    assert compute_overall_score([(8.0, 10), (60.0, 100)]) == 70


def test_rank_correlation_is_spearmans_ties_included():
    draw = np.random.default_rng(3)
    one, other = draw.integers(0, 6, 50), draw.integers(0, 6, 50)
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
