"""The results of a suite from stored judgements: columns that bear their judge, counts, corrected differences."""

import json

import pandas as pd
import pytest

from infra.errors import BadInput
from tasks.evaluation.judged.calibration import calibrate_judge, compute_agreement
from tasks.evaluation.judged.results_program import main
from tests.evaluation.made import folder_of, sheet
from tests.evaluation.test_suites import qualities


def measured(suite: str, tmp_path, spoil=lambda rows: rows, published=None) -> dict:
    folder = folder_of(suite, tmp_path / suite, 40)
    job = {"folder": str(folder), "judged": [], "answers": []}
    for name, low, high in (("weak", 0.1, 0.5), ("strong", 0.5, 0.9), ("twin", 0.1, 0.5)):
        one = sheet(suite, folder, qualities(suite, folder, 1 if name != "strong" else 2, low, high))
        rows = spoil(one.judged.drop(columns="verdict")) if name == "strong" else one.judged.drop(columns="verdict")
        rows.to_parquet(tmp_path / f"{name}.parquet")
        answers = {"question_id": list(one.answers), "turns": [list(turns) for turns in one.answers.values()]}
        pd.DataFrame(answers).to_parquet(tmp_path / f"{name}-answers.parquet")
        job["judged"].append(str(tmp_path / f"{name}.parquet"))
        job["answers"].append(str(tmp_path / f"{name}-answers.parquet"))
    what = {"suite": suite, "judge": "owl-7", "models": ["weak", "strong", "twin"], "confidence": 0.95, "seed": 1}
    main({**job, "what": what, "published": published or {}}, tmp_path, lambda *numbers: None)
    return json.loads((tmp_path / "results.json").read_text())


def test_every_number_bears_its_judge_and_every_difference_its_correction(tmp_path):
    found = measured("mt-bench", tmp_path)
    assert {one["column"] for one in found["results"]} == {"turn 1@owl-7", "turn 2@owl-7", "overall@owl-7"}
    assert all(one["low"] <= one["value"] <= one["high"] and one["full_marks"] == 10 for one in found["results"])
    strong, twin = ([one for one in found["differences"] if one["to"] == name] for name in ("strong", "twin"))
    assert all(one["low"] > 0 and one["p"] <= one["holm"] < 0.05 for one in strong)
    assert all((one["value"], one["low"], one["high"], one["holm"]) == (0, 0, 0, 1) for one in twin)


def test_length_is_reported_beside_win_rates_but_claims_nothing(tmp_path):
    found = measured("alpaca-eval", tmp_path)
    assert [one["column"] for one in found["results"][:3]] == ["LC@owl-7", "WR@owl-7", "length"]
    assert ["holm" in one for one in found["differences"][:3]] == [True, True, False]


@pytest.mark.parametrize("suite", ["alpaca-eval", "arena-hard"])
def test_missing_answers_are_counted_and_common_questions_compared(suite, tmp_path):
    def spoil(rows):
        first, second = rows["question_id"].unique()[:2]
        lost = rows["question_id"] == first
        rows.loc[lost, ["status", "reply"]] = ["unanswered", None]
        rows.loc[rows["question_id"] == second, "reply"] = json.dumps({"content": "[[A>>A]]", "top_logprobs": []})
        return rows

    found = measured(suite, tmp_path, spoil)
    counts = found["counts"]["strong"]
    games = 2 if suite == "arena-hard" else 1
    assert (counts["missing"], counts["unanswered"], counts["invalid"]) == (2, games, games)
    assert found["counts"]["weak"]["missing"] == 0
    assert suite != "arena-hard" or counts["stray"] == 2
    assert [one["metric"] for one in found["differences"] if one["to"] == "strong"][-1] in ("length", "WR")


def test_a_judge_is_calibrated_by_published_preferences(tmp_path):
    known = pd.DataFrame({"question_id": [str(n) for n in range(40)], "preference": [1.95] * 30 + [1.4] * 10})
    known.to_parquet(tmp_path / "published.parquet")
    found = measured("alpaca-eval", tmp_path, published={"strong": str(tmp_path / "published.parquet")})
    one = found["calibration"]["models"]["strong"]  # the judge prefers all forty
    assert (one["items"], one["decided"], one["agreement"], one["agreement_decided"]) == (40, 30, 0.75, 1.0)
    assert found["calibration"]["order"] is None  # of one model


@pytest.mark.parametrize("suite", ["alpaca-eval", "arena-hard", "mt-bench", "align-bench"])
@pytest.mark.parametrize("status", ["judged", "unanswered"])
def test_a_judge_without_any_verdict_fails_with_its_first_reply(suite, status, tmp_path):
    said = json.dumps({"content": "I would rather not.", "top_logprobs": []}) if status == "judged" else None
    with pytest.raises(BadInput, match=f"{suite}: owl-7 gave no verdict on strong") as problem:
        measured(suite, tmp_path, lambda rows: rows.assign(reply=said, status=status))
    assert ("I would rather not" in str(problem.value)) == (status == "judged")


def test_outputs_without_published_preferences_calibrate_nothing(tmp_path):
    known = pd.DataFrame({"question_id": [str(n) for n in range(40)], "preference": [float("nan")] * 40})
    known.to_parquet(tmp_path / "published.parquet")
    found = measured("alpaca-eval", tmp_path, published={"strong": str(tmp_path / "published.parquet")})
    assert found["calibration"] is None


def test_agreement_counts_a_draw_of_one_judge_a_half_and_orders_models():
    mine, theirs = pd.Series([1.2, 1.5, 1.9, 1.8]), pd.Series([1.0, 1.0, 0.0, 2.0])
    found = compute_agreement(mine, theirs)
    assert (found["agreement"], found["decided"]) == (3 / 4, 3) and found["agreement_decided"] == pytest.approx(2.5 / 3)
    sides = [
        {name: pd.Series([value, value]) for name, value in zip("abc", values, strict=True)}
        for values in ((1, 2, 3), (1, 3, 2))
    ]
    assert calibrate_judge(*sides)["order"] == pytest.approx(0.5)


def test_the_first_answers_stand_side_by_side_with_what_was_said_of_them(tmp_path):
    shown = measured("arena-hard", tmp_path)["examples"]
    assert [one["model"] for one in shown[0]["answers"]] == ["weak", "strong", "twin"] and len(shown) == 6
    assert shown[0]["prompt"] == "Do 0" and len(shown[0]["answers"][0]["verdicts"]) == 2
