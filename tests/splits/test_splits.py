"""Splits: each part its share, old prompts where they were, another seed another split."""

import math

import pandas as pd
import pytest
from pydantic import ValidationError

from infra.errors import BadInput
from tasks.prompts.sources import Skills
from tasks.prompts.stage import select_prompts
from tasks.splits.stage import Split, split_prompts

SHARES = {"sft": 0.25, "preference": 0.6, "held_out": 0.15}
MANY = 4000


def parts(workplace, count: int = MANY, seed: int = 1, shares: dict = SHARES) -> pd.Series:
    """prompt_id -> part"""
    prompts = select_prompts(what=Skills(kind="skills", count=count, seed=9))
    step = split_prompts(what=Split(**shares, seed=seed), prompts=prompts)
    table = workplace.table(step, "splits.parquet")
    assert set(table["prompt_id"]) == set(workplace.table(prompts, "prompts.parquet")["prompt_id"])
    assert workplace.made(step).counts == {"rows": len(table), **table["part"].value_counts()}
    return table.set_index("prompt_id", verify_integrity=True)["part"]


def near(count: int, share: float, of: int) -> bool:
    """Within five standard deviations of a binomial."""
    return abs(count - share * of) <= 5 * math.sqrt(of * share * (1 - share))


def test_each_part_has_its_share(workplace):
    found = parts(workplace).value_counts()
    assert set(found.index) == set(SHARES)
    assert all(near(found[part], share, MANY) for part, share in SHARES.items())


def test_more_prompts_never_move_old_ones(workplace):
    few, many = parts(workplace, 500), parts(workplace)
    assert len(few) == 500 and many[few.index].equals(few)


def test_a_larger_first_share_only_takes_it_loses_none(workplace):
    before = parts(workplace)
    after = parts(workplace, shares={"sft": 0.35, "preference": 0.5, "held_out": 0.15})
    assert (after[before == "sft"] == "sft").all() and (after[before == "held_out"] == "held_out").all()


def test_another_seed_splits_as_if_it_knew_nothing_of_the_first(workplace):
    one, other = parts(workplace), parts(workplace, seed=2)
    same = sum(share * share for share in SHARES.values())
    assert near(int((one == other[one.index]).sum()), same, MANY)


def test_a_part_that_would_be_empty_is_refused_by_its_name(workplace):
    with pytest.raises(BadInput, match=r"^split\.held_out: 0\.001 of 6 prompts leaves none$"):
        parts(workplace, 6, shares={"sft": 0.5, "preference": 0.499, "held_out": 0.001}, seed=3)


def test_shares_that_are_not_a_whole_are_refused():
    with pytest.raises(ValidationError, match=r"sft \+ preference \+ held_out is 0\.95, not 1"):
        Split(sft=0.25, preference=0.6, held_out=0.1, seed=1)
