"""Arena-Hard's published files of 2024 and of today, and its two versions, which are two suites."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from infra.errors import BadInput
from tasks.evaluation.judged.metrics import SUITES, add_verdicts, compute_suite_metrics
from tasks.evaluation.judged.questions import PublishedSuite
from tests.evaluation.made import folder_of, sheet, today
from tests.evaluation.test_suites import qualities


def games_of(suite: str, folder) -> list:
    rules = SUITES[suite]
    prompt = rules.read_judge_prompt(folder)
    return [game for question in rules.read_questions(folder) for game in rules.make_games(prompt, question, ("Mine",))]


@pytest.fixture
def v01(tmp_path):
    """The same questions in both forms."""
    folder_of("arena-hard", tmp_path / "2024", 3)
    (tmp_path / "today").mkdir()
    today(tmp_path / "today", dict.fromkeys(("q0", "q1", "q2"), "arena-hard-v0.1"), {"baseline.jsonl": "Done"})
    return tmp_path


def test_the_files_of_today_give_the_games_of_2024(v01):
    before, now = (games_of("arena-hard", v01 / form) for form in ("2024", "today"))
    assert before == now
    assert [message["content"] for message in now[3].messages] == ["You judge.", "Q Do 1\nA Mine\nB Done 1"]


def test_an_address_of_2024_stays_and_the_file_of_today_is_part_of_its_own(v01):
    old = PublishedSuite(suite="arena-hard", path=str(v01 / "2024")).resolve("suite")["what"]
    new = PublishedSuite(suite="arena-hard", path=str(v01 / "today")).resolve("suite")["what"]
    assert sorted(old.files) == ["baseline.jsonl", "judge_config.yaml", "question.jsonl"]
    assert sorted(new.files) == ["baseline.jsonl", "judge_config.yaml", "judge_utils.py", "question.jsonl"]


def test_a_judge_without_instructions_is_refused_with_where_they_are(v01):
    (v01 / "today" / "judge_utils.py").unlink()
    with pytest.raises(BadInput, match=r"no system_prompt; since 2025 it is in judge_utils\.py"):
        games_of("arena-hard", v01 / "today")


@pytest.mark.parametrize(
    "text",
    ["JUDGE_SETTINGS = make()", "JUDGE_SETTINGS = {", "x = 1", "JUDGE_SETTINGS = {'arena-hard-v0.1': 3}", "(" * 5000],
)
def test_the_authors_code_is_read_and_never_run(v01, text):
    (v01 / "today" / "judge_utils.py").write_text(text)
    with pytest.raises(BadInput, match=r"no JUDGE_SETTINGS with a system_prompt for 'arena-hard-v0\.1'"):
        games_of("arena-hard", v01 / "today")


def test_each_version_refuses_the_questions_of_the_other(v01, tmp_path):
    v2 = folder_of("arena-hard-v2.0", tmp_path / "v2", 4)
    shutil.copy(v2 / "o3-mini-2025-01-31.jsonl", v2 / "baseline.jsonl")
    with pytest.raises(BadInput, match=r"of category 'creative_writing'; v2\.0 is the suite arena-hard-v2\.0"):
        SUITES["arena-hard"].read_questions(v2)
    shutil.copy(v01 / "today" / "question.jsonl", v2 / "question.jsonl")
    with pytest.raises(BadInput, match=r"of category 'arena-hard-v0\.1'; v0\.1 is arena-hard"):
        SUITES["arena-hard-v2.0"].read_questions(v2)


def test_a_category_of_v2_has_its_own_baseline_judge_and_score(tmp_path):
    folder = folder_of("arena-hard-v2.0", tmp_path / "v2", 4)
    shown = {game.question_id: game.messages for game in games_of("arena-hard-v2.0", folder) if game.name == "as is"}
    assert [message["content"] for message in shown["q0"]] == ["You judge art.", "Q Do 0\nA Sung 0\nB Mine"]
    assert [message["content"] for message in shown["q1"]] == ["You judge.", "Q Do 1\nA Solved 1\nB Mine"]
    made = sheet("arena-hard-v2.0", folder, qualities("arena-hard-v2.0", folder))
    games = [  # the first of each question shows the baseline first
        ("q0", "as is", "[[B>>A]]"),
        ("q0", "switched", "[[B>A]]"),
        ("q1", "as is", "[[A=B]]"),
        ("q1", "switched", "no label"),
    ]
    rows = [
        {"question_id": name, "name": order, "status": "judged", "reply": json.dumps({"content": text})}
        for name, order, text in games
    ]
    made = replace(made, judged=add_verdicts(pd.DataFrame(rows), "arena-hard-v2.0"))
    found = compute_suite_metrics(made, ["q0", "q1"], seed=1)
    assert {name: metric.value for name, metric in found.items()} == {"hard prompts": 50, "creative writing": 75}
    assert np.isfinite(found["hard prompts"].replicates).all()


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("first [[A>B]], no: [[B>>A]]", "B>>A"),
        ("my verdict is [a>b]", "A>B"),
        ("[[A<<B]]", "B>>A"),
        ("[[B=A]]", "A=B"),
        ("[[A>>A]]", None),
        ("neither", None),
    ],
)
def test_verdicts_of_v2_are_read_as_its_authors_read_them(reply, verdict):
    assert SUITES["arena-hard-v2.0"].read_verdict({"content": reply}, "as is") == verdict
