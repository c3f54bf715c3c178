"""Prompts: ids that anyone can compute, puzzles with right answers that no model was taught, files taken as they are."""

import hashlib
import json
import random

import pandas as pd
import pytest

from infra.errors import BadInput
from tasks.demo import lessons
from tasks.prompts.sources import PromptFile, Skills
from tasks.prompts.stage import select_prompts

MANY = 1200


def puzzles(workplace, count: int = MANY, seed: int = 5) -> pd.DataFrame:
    return workplace.table(select_prompts(what=Skills(kind="skills", count=count, seed=seed)), "prompts.parquet")


def turns(row) -> list[dict]:
    return [dict(turn) for turn in row.messages]


def answer(question: str) -> str:
    """The skills a second time, in arithmetic of letters."""
    skill, letters = question.split(" ")
    places = [ord(letter) - ord("a") for letter in letters]
    moved = {
        "copy": places,
        "flip": [places[-1 - place] for place in range(len(places))],
        "sort": [place for place in range(10) for _ in range(places.count(place))],
        "next": [(place + 1) % 10 for place in places],
        "back": [(place + 9) % 10 for place in places],
        "roll": [places[(place + 1) % len(places)] for place in range(len(places))],
    }[skill]
    return "".join("abcdefghij"[place] for place in moved)


def test_an_id_is_the_sha256_of_what_the_prompt_says(workplace):
    for row in puzzles(workplace, 30).itertuples():
        canonical = f'[["user","{turns(row)[0]["content"]}"]]'
        assert row.prompt_id == hashlib.sha256(canonical.encode()).hexdigest()


def test_puzzles_are_unique_sorted_right_and_of_all_skills_alike(workplace):
    table = puzzles(workplace)
    assert len(table) == MANY and table["prompt_id"].is_unique and table["prompt_id"].is_monotonic_increasing
    questions = [turns(row)[0]["content"] for row in table.itertuples()]
    assert len({question.split(" ")[1] for question in questions}) == MANY
    assert [answer(question) for question in questions] == table["gold"].tolist()
    assert [question.split(" ")[0] for question in questions] == table["category"].tolist()
    assert set(table["category"].value_counts()) == {MANY // 6}


def test_no_puzzle_stands_in_any_lesson(workplace):
    """A model that was taught a prompt's letters would show what it remembers, not what it can do."""
    source = random.Random(1)
    equally = dict.fromkeys(("copy", "flip", "sort", "next", "back", "roll"), 1.0)
    taught = {lessons.draw_generator_lesson(source, equally, 0.5).question.split()[1] for _ in range(4000)}
    taught |= {lessons.draw_reward_lesson(source).question.split()[1] for _ in range(4000)}
    asked = {turns(row)[0]["content"].split()[1] for row in puzzles(workplace).itertuples()}
    assert len(asked) == MANY and not asked & taught


def test_the_seed_chooses_the_puzzles_and_more_of_them_keep_the_first(workplace):
    ids = lambda count, seed: set(puzzles(workplace, count, seed)["prompt_id"])
    assert ids(60, 1) < ids(90, 1) and len(ids(60, 1) & ids(60, 2)) < 6


ROWS = [
    {"prompt": "Was heißt „é“?", "gold": "e", "category": "letters"},
    {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "why?\n"}]},
    {"messages": [{"content": "Was heißt „é“?", "role": "user"}], "gold": "another", "note": "the same prompt"},
    {"prompt": "why?", "gold": None},
]


def from_file(workplace, rows: list[dict], name: str = "rows.jsonl"):
    file = workplace.folder / name
    if file.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file, select_prompts(**PromptFile(kind="file", path=str(file)).resolve("prompts"))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_a_file_gives_each_prompt_once_the_first_of_its_kind_counts(workplace, name):
    rows = [{"prompt": None, "messages": None, "gold": None, "category": "", **row} for row in ROWS]
    _, step = from_file(workplace, rows if name.endswith("parquet") else ROWS, name)
    table = workplace.table(step, "prompts.parquet")
    assert workplace.made(step).counts["rows"] == 3 and workplace.made(step).counts["dropped_duplicates"] == 1
    found = {row.prompt_id: (turns(row), row.category, row.gold) for row in table.astype(object).itertuples()}
    spelt = lambda *pairs: hashlib.sha256(
        json.dumps([list(pair) for pair in pairs], ensure_ascii=False, separators=(",", ":")).encode()
    ).hexdigest()
    one, two, three = (
        (("user", "Was heißt „é“?"),),
        (("system", "Be kind."), ("user", "why?\n")),
        (("user", "why?"),),
    )
    assert found.keys() == {spelt(*one), spelt(*two), spelt(*three)}
    assert found[spelt(*one)] == ([{"role": "user", "content": "Was heißt „é“?"}], "letters", "e")
    assert [turn["role"] for turn in found[spelt(*two)][0]] == ["system", "user"]
    assert pd.isna(found[spelt(*three)][2]) and found[spelt(*three)][1] == ""


def test_where_a_file_lies_does_not_matter_and_what_stands_in_it_does(workplace):
    _, one = from_file(workplace, ROWS, "one.jsonl")
    _, moved = from_file(workplace, ROWS, "moved.jsonl")
    _, other = from_file(workplace, ROWS[:2], "other.jsonl")
    assert one.address == moved.address != other.address


def test_a_line_that_is_no_json_is_named_with_its_number(workplace):
    file = workplace.folder / "rows.jsonl"
    file.write_text('{"prompt": "a"}\n{"prompt": \n')
    with pytest.raises(BadInput, match=r"rows\.jsonl, row 2: not JSON: Expecting value at character"):
        workplace.made(select_prompts(**PromptFile(kind="file", path=str(file)).resolve("prompts")))


def test_a_file_that_is_not_there_or_empty_is_refused_before_the_run(workplace):
    with pytest.raises(BadInput, match=r"^prompts\.path: there is no file '.*nowhere\.jsonl'$"):
        PromptFile(kind="file", path=str(workplace.folder / "nowhere.jsonl")).resolve("prompts")
    with pytest.raises(BadInput, match=r"^prompts\.path: there are no prompts in '.*rows\.jsonl'$"):
        from_file(workplace, [])


def test_a_file_that_changed_since_the_plan_is_refused(workplace):
    file, step = from_file(workplace, ROWS)
    file.write_text(json.dumps({"prompt": "another"}))
    with pytest.raises(BadInput, match=r"rows\.jsonl' changed while the run was being prepared"):
        workplace.made(step)
    assert workplace.store.manifests("prompt-selection") == []


def test_a_prompt_file_may_be_pinned_and_is_then_that_file_or_refused(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "one"}\n')
    pinned = {"kind": "file", "path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    plain = PromptFile(kind="file", path=str(file)).resolve("prompts")["what"]
    assert PromptFile(**pinned).resolve("prompts")["what"] == plain  # the same prompts have the same address
    file.write_text('{"prompt": "two"}\n')
    with pytest.raises(BadInput, match=r"^prompts\.sha256: expected [0-9a-f]{12}…"):
        PromptFile(**pinned).resolve("prompts")
