"""The results of a suite from stored judgements: columns that bear their judge, counts, corrected differences."""

import json

import pandas as pd
import pytest
from evaluation.made import folder_of, sheet
from evaluation.test_suites import qualities

from tasks.evaluation.measure import main


def measured(suite: str, tmp_path, spoil=lambda rows: rows, questions: int = 40) -> dict:
    folder = folder_of(suite, tmp_path / suite, questions)
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
    main({**job, "what": what}, tmp_path, lambda *numbers: None)
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
def test_what_is_missing_or_unreadable_is_counted_and_compared_on_common_questions(suite, tmp_path):
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
