"""The replay of a sampling rule, against cases that can be counted by hand and against a loop over prompts."""

import numpy as np
import pytest

from tasks.economics.adaptive import SamplingRule, chances_to_win, make_grid, replay_rule, replay_rules
from tasks.economics.rows import ScoredRows


def make_rows(
    means: list[float], prompts: int = 200, samples: int = 5, noise: float = 1.0, seed: int = 0
) -> ScoredRows:
    random = np.random.default_rng(seed)
    hard = random.normal(0, 1, prompts)
    source, prompt, _ = (axis.ravel() for axis in np.indices((len(means), prompts, samples)))
    score = hard[prompt] + np.array(means)[source] + random.normal(0, noise, len(prompt))
    return ScoredRows(tuple(map(str, means)), prompt, source, score, np.full(len(prompt), 10))


def test_a_threshold_of_zero_asks_for_everything():
    found = replay_rule(make_grid(make_rows([0.0, 1.0])), SamplingRule(1, 0.0))
    assert found["tokens"] == found["of_tokens"] == 2 * 200 * 5 * 10 and found["best"] == found["of_best"]


def test_a_threshold_above_one_asks_once():
    rows = make_rows([0.0, 1.0])
    found = replay_rule(make_grid(rows), SamplingRule(2, 1.01))
    assert found["tokens"] == 2 * 200 * 2 * 10
    first = np.arange(len(rows.score)) % 5 < 2
    best = [rows.score[first & (rows.prompt == prompt)].max() for prompt in range(200)]
    assert found["best"] == pytest.approx(np.mean(best))


def test_a_hopeless_source_costs_one_round_and_nothing_is_lost():
    found = replay_rule(make_grid(make_rows([0.0, -50.0], noise=0.1)), SamplingRule(1, 0.02))
    assert found["tokens"] <= 200 * 10 * 6 and found["best"] == pytest.approx(found["of_best"], abs=1e-9)


def test_chances_equal_a_loop_over_the_cells():
    grid = make_grid(make_rows([0.0, 0.5, -0.5], prompts=7, samples=3))
    score, left = grid.score.copy(), np.full((7, 3), 2)
    score[:, :, 2] = np.nan
    score[3, 1] = np.nan
    found = chances_to_win(score, left)
    from statistics import NormalDist

    flat = lambda prompt: [value for value in score[prompt].ravel() if value == value]
    own = lambda prompt, source: [value for value in score[prompt, source] if value == value]
    for source in range(3):
        held = [prompt for prompt in range(7) if own(prompt, source)]
        distance = np.mean([np.mean(own(prompt, source)) - np.mean(flat(prompt)) for prompt in held])
        squares = [(value - np.mean(own(prompt, source))) ** 2 for prompt in held for value in own(prompt, source)]
        spread = np.sqrt(sum(squares) / sum(len(own(prompt, source)) - 1 for prompt in held))
        for prompt in range(7):
            seen = own(prompt, source)
            mean = (sum(seen) + np.mean(flat(prompt)) + distance) / (len(seen) + 1)
            wide = spread * np.sqrt(1 + 1 / (len(seen) + 1))
            below = NormalDist(mean, wide).cdf(max(flat(prompt)))
            assert found[prompt, source] == pytest.approx(1 - below**2, abs=1e-9)


def test_the_same_rows_give_the_same_curve_and_a_higher_threshold_saves_more():
    rows = make_rows([0.0, 0.3, 0.6, 0.9], noise=0.5)
    curve = replay_rules(rows)
    assert curve == replay_rules(rows)
    spent = [point["tokens"] for point in curve]
    assert spent == sorted(spent, reverse=True) and spent[-1] < 0.6 * curve[0]["of_tokens"]
