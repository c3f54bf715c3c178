"""A prompt that some model has no answer to is left out of the comparison for all, and counted; a lost score is an error."""

import pandas as pd
import pytest

from infra.errors import BadInput
from tasks.evaluation.stage import Evaluation, compare_all_models, compute_win_rates, drop_unanswered, join_answers


class Counting:
    def __init__(self, rows: pd.DataFrame | None = None, folder=None):
        self.counts, self.rows, self.folder = {}, rows, folder

    def count(self, **numbers):
        self.counts |= numbers

    def file(self, manifest, name):
        self.rows.to_parquet(self.folder / name)
        return self.folder / name


def test_models_are_compared_on_the_prompts_that_all_of_them_answered():
    rows = [
        ("a", "one", "x"),
        ("b", "one", None),
        ("c", "one", "x"),
        ("a", "two", "y"),
        ("b", "two", "y"),
        ("c", "two", "y"),
    ]
    run, table = Counting(), pd.DataFrame(rows, columns=["prompt_id", "model", "text"])
    left = drop_unanswered(run, table)
    assert sorted(left["prompt_id"]) == ["a", "a", "c", "c"] and run.counts == {"dropped_without_answer": 1}
    with pytest.raises(BadInput, match="no held-out prompt of 1 has an answer by every model"):
        drop_unanswered(run, table[table["prompt_id"] == "b"])


def test_an_answer_without_a_score_is_an_error_and_no_answer_is_not(tmp_path):
    said = pd.DataFrame({"prompt_id": ["a"], "text": ["x"], "content_id": ["ax"], "tokens": [1]})
    held_out = pd.DataFrame({"prompt_id": ["a", "b"], "gold": [None, None]})
    scored = pd.DataFrame({"content_id": ["ax"], "score": [1.0]})
    found = join_answers(Counting(said, tmp_path), "m", None, None, held_out, scored)
    assert found["text"].isna().tolist() == [False, True]
    with pytest.raises(BadInput, match="1 held-out answers of 'm' have no score"):
        join_answers(Counting(said, tmp_path), "m", None, None, held_out, scored[:0])


def test_a_collective_is_compared_with_sources_and_last_model():
    scores = {"SFT": (1.0, 5.0), "WRPO": (3.0, 5.0), "s": (2.0, 4.0), "t": (0.0, 6.0), "best": (2.0, 6.0)}
    rows = [
        {"prompt_id": prompt, "model": name, "score": values[place], "correct": None}
        for name, values in scores.items()
        for place, prompt in enumerate("pq")
    ]
    what = Evaluation(models=("SFT", "WRPO"), opponents=("s", "t"), collectives=("best",), seed=1)
    table = pd.DataFrame(rows)
    table["win_rate"] = compute_win_rates(table, what.opponents)
    rates = table.groupby("model")["win_rate"].mean().to_dict()
    assert rates == {"SFT": 0.5, "WRPO": 0.75, "s": 0.5, "t": 0.5, "best": 0.75}  # a draw with whom it chose
    changes = {(one["from"], one["to"]): one["value"] for one in compare_all_models(table, what)}
    assert changes == {("SFT", "WRPO"): 0.25, ("best", "WRPO"): 0.0}
