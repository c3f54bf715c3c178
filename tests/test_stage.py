"""Identity: what is hashed, what is not, and what refuses to be."""

import pytest
from pydantic import Field

from tasks.stage import How, Step, What, digest, lineage, stage


class Old(What):
    rate: float


class New(What):
    rate: float
    extra: int = 3
    tags: tuple[str, ...] = Field(default_factory=tuple)


class Speed(How):
    batch: int = 1


@stage("first thing", version="1")
def first(run, what, how):
    pass


@stage("second thing", version="1")
def second(run, what, how, before):
    pass


def test_a_new_field_with_a_default_keeps_the_old_fingerprint():
    assert digest(Old(rate=0.1)) == digest(New(rate=0.1))
    assert digest(New(rate=0.1)) != digest(New(rate=0.1, extra=4))


def test_the_fingerprint_is_pinned_so_that_no_refactoring_moves_it_unseen():
    assert first(what=Old(rate=0.1)).fingerprint == "dfcf8759f74f1f1d35b9d456ed6201441e1f26d6"


def test_how_does_not_change_the_address():
    assert (
        first(what=Old(rate=0.1), how=Speed(batch=1)).address == first(what=Old(rate=0.1), how=Speed(batch=9)).address
    )


def test_the_label_does_not_change_the_address():
    assert first("one", what=Old(rate=0.1)).address == first("other", what=Old(rate=0.1)).address


def test_an_input_changes_the_address_of_all_that_follows():
    one, other = (second(what=Old(rate=1), before=first(what=Old(rate=rate))) for rate in (0.1, 0.2))
    assert one.address != other.address


def test_the_version_changes_the_address():
    @stage("first thing", version="2")
    def bumped(run, what, how):
        pass

    assert bumped(what=Old(rate=0.1)).address != first(what=Old(rate=0.1)).address


def test_rows_may_outlive_a_version_that_makes_something_else_of_them():
    work, rows = (lambda run, what, how: None), lambda what, inputs: {"rate": what.rate}
    before, after, anew = (
        stage("asking", *how)(work)(what=Old(rate=0.1)) for how in (("1", rows), ("2", rows, "1"), ("2", rows))
    )
    assert after.address == anew.address != before.address
    assert after.pool == before.pool != anew.pool


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"bytes"])
def test_a_value_without_canonical_form_is_refused(value):
    with pytest.raises((TypeError, ValueError), match="no canonical form"):
        digest({"field": value})


def test_key_order_does_not_matter_and_list_order_does():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_lineage_lists_each_step_once_inputs_first():
    shared = first(what=Old(rate=0.1))
    last = second(
        what=Old(rate=3), before=[second(what=Old(rate=1), before=shared), second(what=Old(rate=2), before=shared)]
    )
    order = lineage(last)
    assert len(order) == 4 and order[0] is shared and order[-1] is last


def test_a_stage_called_with_settings_is_a_step_and_runs_nothing():
    assert isinstance(first(what=Old(rate=0.1)), Step)
