"""The suites' metrics against published judgements and what leaderboards say of them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.judged.metrics import AnswerSheet, compute_suite_metrics, count_judged_games
from tasks.evaluation.judged.suites import SUITES, alpaca_eval, length_control, mt_bench
from tasks.evaluation.judged.suites.files import Question
from tasks.evaluation.statistics import bootstrap_clustered_mean, draw_indices
from tests.published import published

MODELS = (
    "FuseChat-Llama-3.1-8B-Instruct",
    "NullModel",
    "OpenHermes-2.5-Mistral-7B",
    "alpaca-7b",
    "gpt-3.5-turbo-1106_verbose",
)


def alpaca(model: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    rows = pd.read_parquet(published("alpaca_eval/preferences.parquet"))
    expected = pd.read_csv(published("alpaca_eval/expected.csv")).set_index("name")
    return rows[rows["model"] == model], pd.read_csv(published("alpaca_eval/df_gamed.csv")), expected.loc[model]


@pytest.mark.parametrize("model", MODELS)
def test_alpaca_eval_equals_its_leaderboard_in_any_row_order(model):
    rows, gamed, expected = alpaca(model)
    for order in (rows, rows.sample(frac=1, random_state=7)):
        assert length_control.fit_controlled_rate(order, gamed) == pytest.approx(expected["lc"], abs=1e-6)
        assert alpaca_eval.compute_win_rates(order).mean() == pytest.approx(expected["wr"], abs=1e-6)
    assert rows["len_2"].mean() == pytest.approx(expected["avg_len"], abs=1e-6)


def test_a_missing_published_row_leaves_other_difficulties_as_they_are():
    """The library reads difficulties by position: there one missing row moves the score of a model by a tenth and more."""
    rows, gamed, expected = alpaca(MODELS[0])
    rows = rows.sort_values("instruction_index")
    names = rows["instruction_index"].astype(str)
    judged = pd.DataFrame(
        {"question_id": names, "name": "as is", "status": "judged", "verdict": rows["preference"].replace(0.0, 1.5)}
    )
    questions = {
        name: Question(name, ("",), baseline="x" * row.len_1)
        for name, row in zip(names, rows.itertuples(), strict=True)
    }
    answers = {name: ("y" * row.len_2,) for name, row in zip(names, rows.itertuples(), strict=True)}
    whole = AnswerSheet("alpaca-eval", published("alpaca_eval"), questions, answers, judged)
    gap = replace(whole, judged=judged.iloc[1:])
    assert count_judged_games(whole)["missing"] == 0 and count_judged_games(gap)["missing"] == 1
    left, short = sorted(gap.judged_questions()), length_control.fit_controlled_rate(rows.iloc[1:], gamed)
    assert compute_suite_metrics(gap, left, seed=1)["LC"].value == pytest.approx(short)
    assert short == pytest.approx(expected["lc"], abs=0.05)  # one of 805 prompts is worth no more
    assert compute_suite_metrics(whole, sorted(questions), seed=1)["LC"].value == pytest.approx(
        expected["lc"], abs=1e-6
    )


def test_the_refitted_bootstrap_is_centred_and_wider_than_published():
    rows, gamed, expected = alpaca(MODELS[0])
    whole = length_control.refit_controlled_rates(rows, gamed, np.arange(len(rows))[None])
    assert whole[0] == pytest.approx(expected["lc"], abs=0.17)  # without the L1 penalty
    spread = length_control.refit_controlled_rates(rows, gamed, draw_indices(len(rows), seed=1, resamples=400)).std()
    assert 1.3 < spread < 1.65 and expected["lcse"] < 0.7


def test_preferences_of_published_log_probabilities_are_the_published_ones():
    rows = pd.read_parquet(published("alpaca_eval/preferences.parquet")).dropna(subset=["logprob_m", "logprob_M"])
    assert len(rows) > 800
    as_is, turned = (
        np.array([SUITES["alpaca-eval"].read_verdict(reply(row), name) for row in rows.itertuples()])
        for name in ("as is", "switched")
    )
    known = rows["preference"].to_numpy()
    assert np.minimum(np.abs(as_is - known), np.abs(turned - known)).max() < 1e-6


def reply(row) -> dict:
    return {
        "top_logprobs": [{"token": "m", "logprob": row.logprob_m}, {"token": "M", "logprob": row.logprob_M}],
    }


def test_arena_hard_gives_the_published_score_and_an_interval_by_questions():
    battles = pd.read_parquet(published("arena_hard/battles.parquet"))
    expected = pd.read_csv(published("arena_hard/expected.csv")).iloc[0]
    scores = battles["winner"].map({"model_a": 0.0, "tie": 0.5, "model_b": 1.0}).to_numpy() * 100
    found = bootstrap_clustered_mean(scores, np.ones(len(scores)), battles["question_id"], 0.95, seed=1)
    assert found["value"] == pytest.approx(expected["win_rate_pct"], abs=1e-6)
    assert found["value"] == pytest.approx(expected["published_20240731"], abs=0.01)
    alone = bootstrap_clustered_mean(scores, np.ones(len(scores)), np.arange(len(scores)), 0.95, seed=1)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(3.39, rel=0.05)
    assert (alone["high"] - alone["low"]) / 2 == pytest.approx(2.02, rel=0.1)  # what is printed elsewhere


def test_all_published_verdicts_are_read_as_they_were():
    rows = pd.read_parquet(published("arena_hard/raw_judgments.parquet"))
    found = [SUITES["arena-hard"].read_verdict({"content": text}, "as is") for text in rows["judgment"]]
    stored = [None if pd.isna(score) else score for score in rows["score"]]
    assert len(found) == 200 and found == stored


def test_mt_bench_gives_the_published_means():
    rows = pd.read_parquet(published("mt_bench/judgments.parquet"))
    expected = pd.read_csv(published("mt_bench/expected.csv")).iloc[0]
    verdicts = [SUITES["mt-bench"].read_verdict({"content": text}, "turn 1") for text in rows["judgment"]]
    assert verdicts == rows["score"].tolist()
    judged = pd.DataFrame(
        {
            "question_id": rows["question_id"].astype(str),
            "name": "turn " + rows["turn"].astype(str),
            "status": "judged",
            "verdict": verdicts,
        }
    )
    questions = {name: Question(name, ("", "")) for name in judged["question_id"]}
    found = compute_suite_metrics(
        AnswerSheet("mt-bench", published("mt_bench"), questions, {}, judged), sorted(questions), seed=1
    )
    for name, column in (("turn 1", "T1"), ("turn 2", "T2"), ("overall", "overall_pooled")):
        assert found[name].value == pytest.approx(expected[column], abs=1e-6)
    _, duplicates = mt_bench.drop_duplicate_ratings(pd.concat([judged, judged.head(3)]))
    assert duplicates == 3


def test_mt_bench_shows_the_judge_what_was_shown():
    rows = pd.read_parquet(published("mt_bench/judgments.parquet"))
    template = {
        row["name"]: row for row in map(json.loads, published("mt_bench/judge_prompts.jsonl").read_text().splitlines())
    }
    asked = {
        str(row["question_id"]): row
        for row in map(json.loads, published("mt_bench/question.jsonl").read_text().splitlines())
    }
    checked = 0
    for row in rows[rows["turn"] == 2].itertuples():
        if "Reference" in row.user_prompt:
            continue
        first, second = told(row.user_prompt)
        question = Question(str(row.question_id), tuple(asked[str(row.question_id)]["turns"]), "writing")
        game = SUITES["mt-bench"].make_games(template, question, (first, second))[1]
        checked += game.messages[-1]["content"] == row.user_prompt
    assert checked == 50


def told(shown: str) -> list[str]:
    """The two answers, out of what the judge was shown."""
    parts = shown.split("\n\n### Assistant A:\n")[1:]
    return [parts[0].rpartition("\n\n### User:\n")[0], parts[1].rpartition("\n\n<|The End")[0]]
