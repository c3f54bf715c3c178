"""What sources add, against plain loops and against the definitions."""

import numpy as np
import pytest

from tasks.economics.advice import advise
from tasks.economics.jurors import compare_winners
from tasks.economics.rows import BestScores, ScoredRows, best_scores
from tasks.economics.sizes import count_held, curve_of_sizes, expect_best, sizes_up_to
from tasks.economics.worth import share_gains, weigh_sources
from tests.economics import naive

NAMES = ("a", "b", "c")


def make_world(seed: int, prompts: int, sources: int, most: int, levels: int, missing: float) -> list[naive.Row]:
    """Scores from few levels, so that many tie; some without a score; prompts that a source did not answer."""
    random = np.random.default_rng(seed)
    rows = []
    for source in range(sources):
        for prompt in range(prompts):
            for _ in range(random.integers(0, most + 1)):
                score = None if random.random() < missing else float(random.integers(0, levels)) / 7 - 0.3
                rows.append((prompt, source, score, int(random.integers(1, 90))))
    alive = sorted({row[0] for row in rows if row[2] is not None})
    return [(alive.index(row[0]), *row[1:]) for row in rows if row[0] in alive]


def as_rows(rows: list[naive.Row], names: tuple[str, ...]) -> ScoredRows:
    prompt, source, score, tokens = zip(*rows, strict=True)
    return ScoredRows(
        names,
        np.array(prompt),
        np.array(source),
        np.array([np.nan if s is None else s for s in score]),
        np.array(tokens),
    )


def weigh(rows: ScoredRows) -> dict:
    scores = best_scores(rows)
    tokens = rows.tokens_by_source(scores.scored)
    return weigh_sources(scores, tokens, [None] * len(rows.names), rows.names)


@pytest.mark.parametrize("seed", range(8))
def test_a_small_world_equals_the_loop_and_the_definitions(seed):
    rows = make_world(seed, prompts=9, sources=3, most=3, levels=2 + seed, missing=0.2)
    table = as_rows(rows, NAMES)
    assert weigh(table) == naive.weigh(rows, list(NAMES))
    by_prompt = naive.worlds(rows)
    for prompt, gains in enumerate(share_gains(best_scores(table))):
        assert gains == pytest.approx([float(gain) for gain in naive.gain_by_orders(by_prompt[prompt], 3)], abs=1e-12)
    held = count_held(table)
    for size in (1, 2, 3):
        found = expect_best(table, held, size).mean()
        assert found == pytest.approx(float(naive.expected_best_by_draws(rows, 3, size)), abs=1e-12)


def test_thirty_thousand_rows_equal_the_loop_exactly():
    names = tuple(f"source-{number}" for number in range(10))
    random = np.random.default_rng(4)
    rows = [
        (prompt, source, float(round(random.normal(0.1 * source, 1.0), 2)), int(random.integers(1, 900)))
        for source in range(10)
        for prompt in range(600)
        for _ in range(5)
    ]
    table = as_rows(rows, names)
    assert weigh(table) == naive.weigh(rows, list(names))
    curve = curve_of_sizes(table)
    assert [size["n"] for size in curve] == [1, 2, 3, 4, 5]
    assert [size["best"] for size in curve] == [naive.expected_best(rows, 10, size) for size in range(1, 6)]
    assert curve[-1]["best"] == pytest.approx(naive.weigh(rows, list(names))["best"], abs=1e-12)
    assert [round(size["tokens"]) for size in curve] == [
        round(sum(row[3] for row in rows) * n / 5) for n in range(1, 6)
    ]


def test_the_sizes_of_large_samples_are_few_and_end_with_all():
    assert sizes_up_to(0) == [] and sizes_up_to(1) == [1] and sizes_up_to(8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert sizes_up_to(64) == [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64] and sizes_up_to(9)[-2:] == [8, 9]


def test_advice_names_the_source_that_costs_most_for_least():
    sources = [("a", 2.0, 100), ("b", 3.99, 300), ("c", 3.0, 600)]
    overall = {
        "best": 4.0,
        "lowest": 0.0,
        "tokens": 1000,
        "sources": [{"source": name, "without": without, "tokens": tokens} for name, without, tokens in sources],
    }
    sizes = [
        {"n": 1, "best": 3.0, "tokens": 250.0},
        {"n": 2, "best": 3.97, "tokens": 500.0},
        {"n": 4, "best": 4.0, "tokens": 1e3},
    ]
    assert advise(overall, sizes) == [
        "without b: -0.25% of best reward (-0.25% of its rise above the lowest score), -30.0% of tokens",
        "n = 2 instead of 4: -0.75% of best reward (-0.75% of its rise above the lowest score), -50.0% of tokens",
    ]
    sizes[1]["best"] = 3.9
    assert advise(overall, sizes)[1] == "n = 4: a smaller n loses more than 1% of the rise above the lowest score"


def test_jurors_agree_on_sets_of_winners():
    floor = np.zeros(3)
    reward = BestScores(np.array([[1.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), floor)
    juror = BestScores(np.array([[1.0, 0.0], [5.0, 1.0], [1.0, 0.0]]), floor)
    found = compare_winners(reward, juror)
    assert (found["same"], found["common"]) == (1 / 3, 2 / 3)
