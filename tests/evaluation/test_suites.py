"""The suites on small folders in their published form: what the judge is shown, what is read in its reply, what is counted."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from infra.digests import file_digest
from infra.errors import BadInput
from tasks.evaluation.judged.metrics import (
    SUITES,
    add_verdicts,
    compare_answer_sheets,
    compute_suite_metrics,
    count_judged_games,
)
from tasks.evaluation.judged.position_bias import measure_position_bias
from tasks.evaluation.judged.questions import PublishedSuite, open_suite
from tasks.evaluation.judged.suites import align_bench, alpaca_eval, arena_hard, length_control, mt_bench
from tasks.evaluation.judged.suites.files import Question
from tests.evaluation.made import folder_of, reply, sheet

ALL = tuple(SUITES)


def qualities(suite, folder, seed=1, low=0.2, high=0.8):
    draw = np.random.default_rng(seed)
    return {one.question_id: draw.uniform(low, high) for one in SUITES[suite].read_questions(folder)}


@pytest.mark.parametrize("suite", ALL)
def test_a_better_model_scores_more_and_a_row_that_is_missing_is_counted(suite, tmp_path):
    folder = folder_of(suite, tmp_path / suite, 40)
    worse, better = (sheet(suite, folder, qualities(suite, folder, 1, *span)) for span in ((0.1, 0.4), (0.6, 0.9)))
    for change in compare_answer_sheets(worse, better, 0.95, seed=1):
        assert change["metric"] == "length" or (change["low"] > 0 and change["p"] < 0.01)
    assert count_judged_games(better)["missing"] == 0
    gap = replace(better, judged=better.judged[better.judged["question_id"] != better.judged["question_id"].iloc[0]])
    assert count_judged_games(gap)["missing"] == 1


@pytest.mark.parametrize("suite", ALL)
def test_the_order_of_the_rows_does_not_matter(suite, tmp_path):
    folder = folder_of(suite, tmp_path / suite)
    one = sheet(suite, folder, qualities(suite, folder))
    other = replace(one, judged=one.judged.sample(frac=1, random_state=3, ignore_index=True))
    names = sorted(one.questions)
    for name, found in compute_suite_metrics(one, names, seed=2).items():
        assert compute_suite_metrics(other, names, seed=2)[name].value == pytest.approx(found.value, abs=1e-12)


@pytest.mark.parametrize("suite", ALL)
def test_a_model_differs_from_itself_by_nothing_at_all(suite, tmp_path):
    folder = folder_of(suite, tmp_path / suite)
    one = sheet(suite, folder, qualities(suite, folder))
    for change in compare_answer_sheets(one, one, 0.95, seed=1):
        assert (change["value"], change["low"], change["high"], change["p"]) == (0, 0, 0, 1)


def test_a_gap_shifts_no_difficulty_of_alpaca_eval(tmp_path):
    """By position every row after a gap would have its neighbour's difficulty; the library's LC moves by up to 2.8."""
    folder = folder_of("alpaca-eval", tmp_path / "suite")
    gamed = pd.read_csv(folder / "df_gamed.csv")
    rows = pd.DataFrame(
        {"instruction_index": [11, 3, 5], "preference": [1.1, 1.5, 1.9], "len_1": [3, 4, 9], "len_2": 4}
    )
    design, labels, _ = length_control.make_length_features(rows, gamed)
    known = gamed.set_index("index")["instruction_difficulty"].iloc[:12]
    assert design[-3:, 1].tolist() == [known[3], known[5], known[11]]
    assert labels[-3:] == pytest.approx([0.5, 0.9, 0.1])


def test_a_switched_answer_is_shown_first_and_its_preference_turned():
    shown = {
        switch: alpaca_eval.make_alpaca_game(
            "<|im_start|>user\n{output_1} or {output_2}\n<|im_end|>", question(), "{output_2}", switch
        )
        for switch in (False, True)
    }
    assert shown[False].messages[0]["content"] == "base or {output_2}"  # an answer is no template
    assert shown[True].messages[0]["content"] == "{output_2} or base"
    letters = {"top_logprobs": [{"token": "M", "logprob": np.log(0.6)}, {"token": "m", "logprob": np.log(0.2)}]}
    assert SUITES["alpaca-eval"].read_verdict(letters, "as is") == pytest.approx(1.75)
    assert SUITES["alpaca-eval"].read_verdict(letters, "switched") == pytest.approx(1.25)
    assert SUITES["alpaca-eval"].read_verdict({"top_logprobs": [{"token": "The", "logprob": 0.0}]}, "as is") is None


def question():
    return Question("7", ("Do it",), baseline="base")


def test_the_coin_of_an_instruction_is_fair_and_its_own():
    coins = [alpaca_eval.is_candidate_first(f"instruction {number}") for number in range(2000)]
    assert 900 < sum(coins) < 1100 and coins == [
        alpaca_eval.is_candidate_first(f"instruction {n}") for n in range(2000)
    ]


def test_arena_hard_counts_a_clear_verdict_three_times():
    games = [
        ("q1", "as is", "[[A>>B]]"),  # lost clearly: 0, weight 3
        ("q1", "switched", "[[A>B]]"),  # won: 1
        ("q2", "as is", "[[A=B]]"),  # half
        ("q2", "switched", "[[A>>A]]"),  # no such label
        ("q3", "as is", "neither [[A>B]] nor [[B>A]]"),
        ("q3", "switched", "no label"),
    ]
    judged = pd.DataFrame(
        [
            {"question_id": name, "name": order, "status": "judged", "reply": json.dumps({"content": text})}
            for name, order, text in games
        ]
    )
    read = add_verdicts(judged, "arena-hard")
    found = arena_hard.make_battles(read)
    assert np.average(found["score"], weights=found["weight"]) == pytest.approx(1.5 / 5)
    assert read["verdict"].isna().sum() == 3 and arena_hard.count_stray_labels(judged["reply"]) == 1
    assert measure_position_bias("arena-hard", read)["inconsistent"] == 1.0  # of q1, the only one with two verdicts


def test_mt_bench_reads_ratings_and_grades_mathematics_with_a_reference(tmp_path):
    assert SUITES["mt-bench"].read_verdict({"content": "Rating: [[7.5]] or [[3]]"}, "turn 1") == 7.5
    assert SUITES["mt-bench"].read_verdict({"content": "Rating: [6]"}, "turn 1") == 6
    assert SUITES["mt-bench"].read_verdict({"content": "seven"}, "turn 1") is None
    assert SUITES["mt-bench"].read_verdict({"content": "Rating: [[85]]"}, "turn 1") is None  # of a hundred
    folder = folder_of("mt-bench", tmp_path / "suite", 2)
    writing, mathematics = SUITES["mt-bench"].read_questions(folder)
    shown = [
        [
            game.messages[1]["content"]
            for game in SUITES["mt-bench"].make_games(SUITES["mt-bench"].read_judge_prompt(folder), one, ("one", "two"))
        ]
        for one in (writing, mathematics)
    ]
    assert shown == [["Say 0|one", "one|Again 0|two"], ["Say 1|Ref 1|one", "Ref again 1|Again 1|two"]]


def test_mt_bench_pools_the_rows_and_prefers_a_rating_to_a_failure():
    rows = [
        ("1", "turn 1", None),
        ("1", "turn 1", 8.0),
        ("1", "turn 2", None),
        ("2", "turn 1", 6.0),
        ("2", "turn 2", 1.0),
    ]
    judged = pd.DataFrame(rows, columns=["question_id", "name", "verdict"])
    rated, duplicates = mt_bench.drop_duplicate_ratings(judged)
    assert (len(rated), duplicates, rated["verdict"].mean()) == (3, 1, 5.0)


def test_align_bench_averages_categories_then_groups():
    found = align_bench.average_groups({"基本任务": 7.0, "中文理解": 4.0, "数学计算": 2.0, "逻辑推理": 10.0})
    assert found == {"reasoning": 6.0, "language": 5.5, "overall": 5.75}
    assert (
        SUITES["align-bench"].read_verdict({"content": "{'综合得分': 3} 再看 {'正确': 4, '综合得分': 7.5}"}, "rating")
        == 7.5
    )
    assert SUITES["align-bench"].read_verdict({"content": "'综合得分': 6"}, "rating") == 6
    assert SUITES["align-bench"].read_verdict({"content": "很好"}, "rating") is None
    assert SUITES["align-bench"].read_verdict({"content": "{'综合得分': 85}"}, "rating") is None


def by_place(suite: str, name: str, quality: float, bias: float) -> str:
    """A reply of a judge who goes by the answers so far, and else by the place: whatever stands first."""
    as_is = (1 - bias) * quality  # the candidate stands second
    return json.dumps(reply(suite, as_is if name == "as is" else 1 - (1 - bias) * (1 - quality), name))


@pytest.mark.parametrize("suite", ["alpaca-eval", "arena-hard"])
def test_a_judge_who_goes_by_places_is_found_out(suite, tmp_path):
    folder = folder_of(suite, tmp_path / suite, 40)
    one = sheet(suite, folder, qualities(suite, folder))

    def found(bias: float, quality: float) -> dict:
        replies = [by_place(suite, name, quality, bias) for name in one.judged["name"]]
        return count_judged_games(replace(one, judged=add_verdicts(one.judged.assign(reply=replies), suite)))

    for quality in (0.0, 1.0):  # however good the candidate is
        fair, unfair = found(0.0, quality), found(1.0, quality)
        assert (fair["first"], unfair["first"]) == (pytest.approx(0.5, abs=1e-6), pytest.approx(1.0, abs=1e-6))
        assert (fair["inconsistent"], unfair["inconsistent"]) == ((0, 1) if suite == "arena-hard" else (None, None))


@pytest.mark.parametrize("quality", [0.0, 0.5, 1.0])
def test_an_interval_holds_its_number_however_alike_the_verdicts_are(quality, tmp_path):
    """Where all are alike the penalty of the published fit weighs most, and the refitted draws have none."""
    folder = folder_of("alpaca-eval", tmp_path / "suite", 20)
    one = sheet("alpaca-eval", folder, {str(place): quality for place in range(20)})
    for name, found in compute_suite_metrics(one, sorted(one.questions), seed=1).items():
        low, high = np.quantile(found.replicates, [0.025, 0.975])
        assert low - 1e-6 <= found.value <= high + 1e-6, name


def test_one_order_alone_says_nothing_of_places():
    judged = pd.DataFrame({"question_id": ["1", "2"], "name": "as is", "verdict": [1.2, 1.4]})
    assert measure_position_bias("alpaca-eval", judged) == {"first": None, "inconsistent": None}
    both = pd.DataFrame({"question_id": ["1", "1"], "name": ["as is", "switched"], "verdict": [1.2, 1.9]})
    assert measure_position_bias("alpaca-eval", both) == {"first": pytest.approx(0.85), "inconsistent": 1.0}
    assert measure_position_bias("mt-bench", judged) == {}


def test_turns_without_a_rating_count_for_neither_model(tmp_path):
    """Every fifth reply about the one cannot be read; where both have a rating it is the same."""
    folder = folder_of("mt-bench", tmp_path / "suite", 40)
    one = sheet("mt-bench", folder, qualities("mt-bench", folder))
    spoiled = one.judged.copy()
    spoiled.loc[spoiled.index[::5], "reply"] = json.dumps({"content": "no rating"})
    other = replace(one, judged=add_verdicts(spoiled, "mt-bench"))
    for change in compare_answer_sheets(one, other, 0.95, seed=1):
        assert (change["value"], change["low"], change["high"], change["p"]) == (0, 0, 0, 1)
    assert compare_answer_sheets(one, replace(one, judged=one.judged.iloc[:0]), 0.95, seed=1) == []


def test_a_flagged_answer_loses_and_a_missing_one_counts_for_neither():
    for suite, name, worst in (
        ("arena-hard", "switched", "B>>A"),
        ("arena-hard", "as is", "A>>B"),
        ("mt-bench", "turn 1", 1.0),
    ):
        judged = pd.DataFrame(
            {"question_id": ["1", "2"], "name": name, "status": ["flagged", "unanswered"], "reply": [None, None]}
        )
        assert add_verdicts(judged, suite)["verdict"].tolist() == [worst, None]


COMMIT = "0123456789" * 4


def on_a_hub(folder, cache, **changes):
    """A suite of which all files but the judge's instructions lie in the hub's cache, as it leaves them there."""
    there = cache / "datasets--someone--arena" / "snapshots" / COMMIT / "data"
    there.mkdir(parents=True, exist_ok=True)
    names = ("question.jsonl", "baseline.jsonl")
    for name in names:
        (folder / name).exists() and (folder / name).rename(there / name)
    pinned = {name: file_digest(there / name) for name in names}
    fields = {
        "id": "someone/arena",
        "revision": COMMIT,
        "hub": {name: f"data/{name}" for name in names},
        "sha256": pinned,
    }
    return PublishedSuite(suite="arena-hard", path=str(folder), **fields | changes)


def test_files_of_a_suite_may_come_from_a_hub_by_commit_and_digest(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = folder_of("arena-hard", tmp_path / "suite", 5)
    local = open_suite(**PublishedSuite(suite="arena-hard", path=str(folder)).resolve("suite"))
    suite = on_a_hub(folder, tmp_path / "hub")
    opened = open_suite(**suite.resolve("suite"))
    assert opened.address == local.address  # the bytes decide, not where they lie
    assert workplace.made(opened).counts["questions"] == 5
    with pytest.raises(ValueError, match="comes from a hub; add its expected sha256"):
        on_a_hub(folder, tmp_path / "hub", sha256={})
    with pytest.raises(ValueError, match="needs the data set's id and revision"):
        on_a_hub(folder, tmp_path / "hub", revision="")
    other = on_a_hub(folder, tmp_path / "hub", sha256={**suite.sha256, "question.jsonl": "0" * 64})
    with pytest.raises(BadInput, match=r"data/question.jsonl has another sha256 than 000000000000…"):
        workplace.made(open_suite(**other.resolve("suite")))
    absent = on_a_hub(folder, tmp_path / "hub", revision="f" * 40, sha256={**suite.sha256, "question.jsonl": "1" * 64})
    with pytest.raises(BadInput, match=r"data set 'someone/arena' at ffffffffffff cannot deliver the file data/"):
        workplace.made(open_suite(**absent.resolve("suite")))
