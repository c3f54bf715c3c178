"""Splits: exact where they say so, stable where they say so, disjoint always."""

from collections import Counter
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from infra.errors import BadInput
from tasks.splits.stage import PARTS, ByCategory, GivenParts, Shares, SplitRule, by_category, choose_part, split_prompts
from tasks.stage import How


class Files:
    """Stands for a Run over plain tables."""

    def __init__(self, folder):
        self.folder, self.counts = folder, {}

    def file(self, manifest, name):
        return self.folder / f"{manifest}.parquet"

    def count(self, **numbers):
        self.counts.update(numbers)


def split(folder, what, prompts, pairs=()):
    run = Files(folder)
    absent = {name: None for name in ("category", "part") if name not in prompts}
    prompts.assign(**absent).to_parquet(folder / "prompts.parquet")
    pd.DataFrame({"prompt_id": list(pairs)}).to_parquet(folder / "pairs.parquet")
    split_prompts.work(run, what, How(), prompts=("prompts",), pairs=("pairs",) if len(pairs) else ())
    return pd.read_parquet(folder / "splits.parquet"), run.counts


def prompts_of(sizes):
    rows = [(f"{name} {number}", name) for name, size in sizes.items() for number in range(size)]
    return pd.DataFrame(rows, columns=["prompt_id", "category"])


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.dictionaries(st.sampled_from("abc"), st.integers(1, 40), min_size=1),
    held_out=st.sampled_from([0.0, 0.1, 0.25, 0.29]),
    sft=st.sampled_from([0.0, 0.4, 0.29, 1.0]),
    own=st.dictionaries(st.sampled_from("ab"), st.sampled_from([0.0, 0.776, 1.0])),
    seed=st.integers(0, 5),
)
def test_sizes_by_category_are_exact(sizes, held_out, sft, own, seed):
    what = ByCategory(kind="by-category", held_out=held_out, sft=sft, shares=own, seed=seed)
    rows = prompts_of(sizes).sample(frac=1, random_state=seed)
    found = Counter(zip(*[by_category(rows, what)[name] for name in ("category", "part")], strict=True))
    for name, size in sizes.items():
        out = int(Fraction(str(held_out)) * size)
        first = int(Fraction(str(own.get(name, sft))) * (size - out))
        assert [found[name, part] for part in PARTS] == [first, size - out - first, out]


def test_an_exact_size_is_not_lost_to_binary_fractions():
    what = ByCategory(kind="by-category", held_out=0.29, sft=0.5, seed=1)
    assert (by_category(prompts_of({"a": 100}), what)["part"] == "held_out").sum() == 29


def test_by_category_depends_on_ids_and_seed_and_not_on_the_order():
    rows, shuffled = (prompts_of({"a": 50}), prompts_of({"a": 50}).sample(frac=1, random_state=2))
    what = lambda seed: ByCategory(kind="by-category", held_out=0.2, sft=0.5, seed=seed)
    by_id = lambda rows: dict(zip(rows["prompt_id"], rows["part"], strict=True))
    assert by_id(by_category(rows, what(1))) == by_id(by_category(shuffled, what(1)))
    assert by_id(by_category(rows, what(1))) != by_id(by_category(rows, what(2)))


def test_only_pairable_prompts_count_where_the_recipe_says_so(tmp_path):
    rows = prompts_of({"talk": 40, "sums": 40})
    pairs = [prompt for prompt in rows["prompt_id"] if prompt.endswith(("0", "2", "4", "6", "8"))]
    what = ByCategory(kind="by-category", held_out=0.1, sft=0.4, pairable=("talk",), seed=1)
    found, counts = split(tmp_path, what, rows, pairs)
    sizes = found.merge(rows, on="prompt_id").value_counts(["category", "part"])
    assert [sizes["talk", part] for part in PARTS] == [7, 11, 2] and [sizes["sums", part] for part in PARTS] == [
        14,
        22,
        4,
    ]
    assert counts["dropped_without_pair"] == 20 and set(
        found.query("prompt_id.str.startswith('talk')")["prompt_id"]
    ) <= {*pairs}
    with pytest.raises(BadInput, match=r"split\.pairable"):
        split(tmp_path, what, rows)


def test_new_prompts_move_no_old_ones_under_shares(tmp_path):
    what = Shares(kind="shares", sft=0.32, preference=0.64, held_out=0.04, seed=7)
    few, many = (split(tmp_path, what, prompts_of({"a": size}))[0] for size in (3000, 6000))
    assert few.merge(many, on="prompt_id")["part_x"].equals(few.merge(many, on="prompt_id")["part_y"])
    sizes = few["part"].value_counts(normalize=True)
    assert abs(sizes["preference"] / sizes["sft"] - 2) < 0.2, "WRPO's 1/3 : 2/3 of what is not held out"
    assert all(choose_part(prompt, what) == part for prompt, part in zip(few["prompt_id"], few["part"], strict=True))


def test_given_parts_are_taken_and_a_missing_one_is_refused(tmp_path):
    rows = pd.DataFrame({"prompt_id": ["a", "b", "c"], "part": ["held_out", "sft", "preference"]})
    assert split(tmp_path, GivenParts(kind="given"), rows)[0].equals(rows)
    with pytest.raises(BadInput, match=r"1 of 3 prompts have no valid part.*b with part"):
        split(tmp_path, GivenParts(kind="given"), rows.assign(part=["held_out", None, "preference"]))


def test_a_part_that_comes_out_empty_is_refused(tmp_path):
    what = ByCategory(kind="by-category", held_out=0.1, sft=0.4, seed=1)
    with pytest.raises(BadInput, match=r"split\.held_out: a share of 0\.1 of 9 prompts is empty"):
        split(tmp_path, what, prompts_of({"a": 9}))


def test_the_kind_decides_which_fields_there_are():
    with pytest.raises(ValueError, match="preference"):
        TypeAdapter(SplitRule).validate_python(
            {"kind": "by-category", "held_out": 0.1, "sft": 0.4, "preference": 0.5, "seed": 1}
        )


SHARES = Shares(kind="shares", sft=1 / 3, preference=2 / 3, held_out=0.0, seed=1)
FUSECHAT = ByCategory(kind="by-category", sft=0.4, held_out=0.0, seed=1)


@pytest.mark.parametrize("what", [SHARES, FUSECHAT])
def test_a_held_out_set_serves_evaluation_and_others_are_split(tmp_path, what):
    """The papers hold out none of their training prompts: the published sizes are floor(.4 N) of all of them."""
    rows = prompts_of({"a": 1003, "b": 17})
    test = prompts_of({"a": 1003, "test": 50}).tail(50).assign(part="held_out")
    found, counts = split(tmp_path, what, pd.concat([rows.assign(part=None), test]))
    by_part = found.groupby("part")["prompt_id"].apply(set)
    assert by_part["held_out"] == set(test["prompt_id"])
    assert by_part["sft"] | by_part["preference"] == set(rows["prompt_id"])
    if what is FUSECHAT:
        assert counts == {"rows": 1070, "sft": 401 + 6, "preference": 602 + 11, "held_out": 50}


@pytest.mark.parametrize("what", [SHARES, FUSECHAT])
def test_nothing_held_out_anywhere_is_refused(tmp_path, what):
    with pytest.raises(BadInput, match=r"split.held_out: a share of 0.0 of 90 prompts is empty"):
        split(tmp_path, what, prompts_of({"a": 90}))


def test_prompts_that_all_name_their_part_need_no_rule(tmp_path):
    rows = prompts_of({"a": 9}).assign(part=["sft", "preference", "held_out"] * 3)
    found, _ = split(tmp_path, FUSECHAT, rows)
    assert dict(zip(found["prompt_id"], found["part"], strict=True)) == dict(
        zip(rows["prompt_id"], rows["part"], strict=True)
    )
