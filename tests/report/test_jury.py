"""What reward models make of the same responses, against numbers worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from tasks.report.jury import (
    best_contents,
    compare_jurors,
    join_scores,
    pearson_correlation,
    remove_length_trend,
    share_of_ties,
    spearman_correlation,
)


def said(*rows: tuple[str, int, str, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["prompt_id", "sample_index", "content_id", "tokens", "score"])


NORTH = said(("p", 0, "a", 1, 1.0), ("p", 1, "b", 2, 2.0), ("q", 0, "c", 3, 3.0))
WEST = said(("p", 0, "d", 4, 2.0), ("q", 0, "e", 5, 7.0), ("q", 1, "c", 3, 3.0))
SCORES = {"north": NORTH, "west": WEST}
OTHER = {"north": NORTH.assign(score=[5.0, 1.0, np.nan]), "west": WEST.assign(score=[3.0, 0.0, 9.0])}


def test_rows_of_two_models_mix_in_any_order():
    turned = {name: rows.iloc[::-1] for name, rows in OTHER.items()}
    rows = join_scores({"reward": SCORES, "other": turned})
    found = {
        (row.source, row.content_id): (row[6], row[7])
        for row in rows[
            ["source", "content_id", "prompt_id", "sample_index", "tokens", "score reward", "score other"]
        ].itertuples()
    }
    assert found[("north", "a")] == (1.0, 5.0) and found[("west", "c")] == (3.0, 9.0)
    assert len(rows) == 6


def test_ties_are_prompts_whose_best_score_two_different_texts_have():
    rows = join_scores({"reward": SCORES})
    assert share_of_ties(rows, "score reward") == 0.5  # p: b and d at 2; q: e alone
    same = {"north": said(("p", 0, "x", 1, 1.0)), "west": said(("p", 0, "x", 1, 1.0))}
    assert share_of_ties(join_scores({"reward": same}), "score reward") == 0.0  # the same words twice are no tie


def test_the_best_of_a_tie_is_the_first_source_in_the_recipe():
    assert best_contents(join_scores({"reward": SCORES}), "score reward").to_dict() == {"p": "b", "q": "e"}
    turned = {"west": WEST, "north": NORTH}
    assert best_contents(join_scores({"reward": turned}), "score reward").to_dict() == {"p": "d", "q": "e"}


def test_one_reward_model_alone_has_no_agreement():
    found = compare_jurors(join_scores({"reward": SCORES}), ["reward"])
    (one,) = found["models"]
    assert found["agreements"] == [] and (one["responses"], one["unscored"], one["ties"]) == (6, 0, 0.5)
    # tokens 1 2 3 4 5 3 (mean 3), scores 1 2 3 2 7 3 (mean 3): sum xy = 4 + 1 + 0 - 1 + 8 + 0, xx = 10, yy = 4+1+0+1+16+0
    assert one["length_pearson"] == pytest.approx(12 / math.sqrt(10 * 22))
    # ranks of tokens 1 2 3.5 5 6 3.5, of scores 1 2.5 4.5 2.5 6 4.5, both around 3.5: 6.25+1.5+0-1.5+6.25+0 over
    # sqrt((6.25+2.25+0+2.25+6.25+0) (6.25+1+1+1+6.25+1))
    assert one["length_spearman"] == pytest.approx(12.5 / math.sqrt(17 * 16.5))
    # slope 12/10: residuals about the mean 3 are 1+2.4, 2+1.2, 3, 2-1.2, 7-2.4, 3
    assert [(source["source"], source["mean"]) for source in one["sources"]] == [("north", 2.0), ("west", 4.0)]
    assert [source["residual"] for source in one["sources"]] == pytest.approx(
        [(3.4 + 3.2 + 3) / 3, (0.8 + 4.6 + 3) / 3]
    )


def test_responses_without_token_counts_have_no_length_numbers():
    scores = {"held": WEST.assign(tokens=None), "north": NORTH}
    (one,) = compare_jurors(join_scores({"reward": scores}), ["reward"])["models"]
    assert [source["mean"] for source in one["sources"]] == [4.0, 2.0]
    assert one["responses"] == 6 and one["length_pearson"] == pytest.approx(1.0)  # of north alone: 1 2 3 and 1 2 3
    assert one["sources"][0]["residual"] is None and one["sources"][1]["residual"] == pytest.approx(2.0)
    (alone,) = compare_jurors(join_scores({"reward": {"held": WEST.assign(tokens=None)}}), ["reward"])["models"]
    assert (alone["length_pearson"], alone["length_spearman"], alone["sources"][0]["residual"]) == (None, None, None)


def test_two_models_are_compared_on_what_both_scored():
    found = compare_jurors(join_scores({"reward": SCORES, "other": OTHER}), ["reward", "other"])
    assert [(one["responses"], one["unscored"]) for one in found["models"]] == [(6, 0), (5, 1)]
    (pair,) = found["agreements"]
    # reward 1 2 2 7 3 (mean 3), other 5 1 3 0 9 (mean 3.6)
    xy = (-2 * 1.4) + (-1 * -2.6) + (-1 * -0.6) + (4 * -3.6) + 0
    yy = 1.4**2 + 2.6**2 + 0.6**2 + 3.6**2 + 5.4**2
    assert pair["pearson"] == pytest.approx(xy / math.sqrt(22 * yy))
    # ranks 1 2.5 2.5 5 4 and 4 2 3 1 5, both around 3: -2*1 + 0.5*1 + 0 + 2*-2 + 1*2
    assert pair["spearman"] == pytest.approx(-3.5 / math.sqrt((4 + 0.25 + 0.25 + 4 + 1) * 10))
    assert pair["top"] == 0.0 and pair["responses"] == 5  # b against a, e against c


def test_three_models_are_compared_two_by_two():
    found = compare_jurors(join_scores({"reward": SCORES, "x": OTHER, "y": SCORES}), ["reward", "x", "y"])
    assert [(one["one"], one["other"]) for one in found["agreements"]] == [("reward", "x"), ("reward", "y"), ("x", "y")]
    same = found["agreements"][1]
    assert (same["pearson"], same["spearman"], same["top"]) == (pytest.approx(1), pytest.approx(1), 1.0)


def test_what_does_not_vary_has_no_correlation():
    flat, grows = np.ones(4), np.arange(4.0)
    assert (
        pearson_correlation(flat, grows) is None
        and spearman_correlation(grows, flat) is None
        and pearson_correlation(grows[:1], grows[:1]) is None
    )
    assert remove_length_trend(grows, flat).tolist() == grows.tolist()


def test_a_residual_goes_with_length_no_more():
    draw = np.random.default_rng(0)
    tokens = draw.integers(1, 200, 500).astype(float)
    score = 0.02 * tokens + draw.normal(size=500)
    rest = remove_length_trend(score, tokens)
    assert abs(pearson_correlation(rest, tokens)) < 1e-12 and rest.mean() == pytest.approx(score.mean())
