"""The intervals against what is known: the normal theory of a mean, exact zero, and pairing."""

import numpy as np
import pandas as pd

from tasks.evaluation.stage import Evaluation, compare_models, compute_win_rates
from tasks.evaluation.statistics import bootstrap_mean


def test_the_interval_of_a_mean_agrees_with_its_standard_error():
    values = np.random.default_rng(3).binomial(1, 0.3, 400).astype(float)
    found = bootstrap_mean(values, 0.95, seed=1)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found["value"] == values.mean()
    assert abs((found["high"] - found["low"]) / 2 - half) < 0.1 * half


def test_intervals_cover_the_truth_as_often_as_they_say():
    draws = np.random.default_rng(7)
    covered = 0
    for trial in range(200):
        found = bootstrap_mean(draws.binomial(1, 0.4, 100).astype(float), 0.9, seed=trial)
        covered += found["low"] <= 0.4 <= found["high"]
    assert 165 <= covered <= 195  # 90% of 200, give or take what chance allows


def table(**scores):
    rows = [
        {"prompt_id": f"p{place}", "model": name, "score": value, "correct": value > 0.5}
        for name, values in scores.items()
        for place, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_a_win_counts_one_a_tie_a_half_and_no_model_meets_itself():
    found = table(mine=[1.0, 0.5], north=[0.0, 0.5], south=[1.0, 0.9])
    found["win_rate"] = compute_win_rates(found, ("north", "south"))
    rates = found.set_index(["model", "prompt_id"])["win_rate"].to_dict()
    assert rates == {
        ("mine", "p0"): 0.75,
        ("mine", "p1"): 0.25,
        ("north", "p0"): 0.0,
        ("north", "p1"): 0.0,
        ("south", "p0"): 1.0,
        ("south", "p1"): 1.0,
    }


def test_two_models_with_the_same_answers_differ_by_exactly_nothing():
    found = table(target=[0.1, 0.9, 0.8], SFT=[0.1, 0.9, 0.8])
    found["win_rate"] = 0.5
    what = Evaluation(models=("target", "SFT"), opponents=("north",), seed=1)
    for change in compare_models("target", "SFT", found, what):
        assert (change["value"], change["low"], change["high"]) == (0, 0, 0)


def test_pairing_narrows_the_interval_of_a_difference():
    draws = np.random.default_rng(1)
    one = draws.binomial(1, 0.5, 300).astype(float)
    other = np.where(draws.random(300) < 0.05, 1.0, one)
    paired = bootstrap_mean(other - one, 0.95, seed=2)
    alone = [bootstrap_mean(values, 0.95, seed=2) for values in (one, other)]
    assert paired["high"] - paired["low"] < 0.5 * min(each["high"] - each["low"] for each in alone)
