"""A plan over a real store: states, what is needed, why something is new, and which stored bytes are bad."""

import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import Field

from flows.plan import compare_values, needed_addresses, plan_chain, verify_inputs
from tasks.stage import What, stage


class Words(What):
    words: int = 1
    tags: dict[str, float] = Field(default_factory=dict)
    names: tuple[str, ...] = ()


def leave_a_file(run, what, how, **inputs):
    (run.folder / "file.txt").write_text(run.step.fingerprint)


first = stage("first", version="1")(leave_a_file)
second = stage("second", version="1")(leave_a_file)
rows = stage("rows", version="1", rows=lambda what, inputs: {"tags": what.tags})(leave_a_file)
last = stage("last", version="1")(leave_a_file)


def chain(**changes):
    """first ─► rows ─► second ─► last, and first ─► last."""
    what = lambda name: Words(**changes.get(name, {}))
    one = first("first · one", what=what("first"))
    many = rows("rows · many", what=what("rows"), before=one)
    two = second("second · two", what=what("second"), before=[many])
    return last("last · end", what=what("last"), early=one, late=two)


def steps(end) -> dict:
    """name -> step"""
    (one,), (two,) = end.inputs["early"], end.inputs["late"]
    return {"first": one, "rows": two.inputs["before"][0], "second": two, "last": end}


def states(planned) -> dict[str, str]:
    return {one.step.stage.name: one.state for one in planned}


def reasons(planned) -> dict[str, list[str]]:
    return {one.step.stage.name: one.reasons for one in planned if one.runs}


def swept(workplace, *steps) -> None:
    for step in steps:
        workplace.store.blobs.delete(f"{step.address}/MANIFEST.json")


@pytest.mark.parametrize("found", [set(names) for n in range(5) for names in itertools.combinations(steps(chain()), n)])
def test_needed_is_what_is_missing_and_read_by_something_missing(found):
    """Against the rule spelt out: the end if missing; then whatever is missing and read by something needed."""
    reads = {"last": ("first", "second"), "second": ("rows",), "rows": ("first",), "first": ()}
    expected = {"last"} - found
    for _ in reads:
        expected |= {name for reader in expected for name in reads[reader]} - found
    known = steps(chain())
    needed = needed_addresses(chain(), {known[name].address for name in found})
    assert needed == {known[name].address for name in expected}


def test_a_plan_goes_from_all_to_do_to_all_found(workplace):
    before = plan_chain(chain(), workplace.store)
    assert states(before) == dict.fromkeys(("first", "rows", "second", "last"), "to do")
    assert [one.step.stage.name for one in before] == ["first", "rows", "second", "last"]
    assert all(why == ["first of its kind"] for why in reasons(before).values())
    made = workplace.made(chain())
    after = plan_chain(chain(), workplace.store)
    assert states(after) == dict.fromkeys(("first", "rows", "second", "last"), "found")
    assert after[-1].manifest == made and reasons(after) == {}


def test_what_only_finished_steps_read_is_not_needed(workplace):
    workplace.made(chain())
    known = steps(chain())
    swept(workplace, known["first"], known["rows"])
    found = plan_chain(chain(), workplace.store)
    assert states(found) == {"first": "not needed", "rows": "not needed", "second": "found", "last": "found"}
    swept(workplace, known["second"])
    assert states(plan_chain(chain(last={"words": 2}), workplace.store)) == dict.fromkeys(known, "to do")


def test_a_changed_field_is_shown_with_old_and_new_value(workplace):
    workplace.made(chain(second={"words": 3, "tags": {"x": 0.5, "y": 1.0}}))
    planned = plan_chain(chain(second={"words": 4, "tags": {"x": 0.25, "y": 1.0}}), workplace.store)
    assert states(planned) == {"first": "found", "rows": "found", "second": "to do", "last": "to do"}
    told = reasons(planned)
    assert sorted(told.pop("second")) == ["tags.x 0.5 → 0.25", "words 3 → 4"]
    assert told == {"last": ["new input: second · two"]}


def test_the_nearest_of_several_is_compared(workplace):
    for words, x in ((1, 0.5), (2, 0.75), (9, 0.1)):
        workplace.made(chain(last={"words": words, "tags": {"x": x}}))
    assert reasons(plan_chain(chain(last={"words": 2, "tags": {"x": 0.5}}), workplace.store))["last"] in (
        ["words 1 → 2"],
        ["tags.x 0.75 → 0.5"],
    )
    assert reasons(plan_chain(chain(last={"words": 9, "tags": {"x": 0.2}}), workplace.store)) == {
        "last": ["tags.x 0.1 → 0.2"]
    }


def test_an_input_that_is_another_but_stands_already_is_told(workplace):
    workplace.made(chain(second={"words": 1}))
    other = steps(chain(second={"words": 2}))["second"]
    workplace.made(other)
    assert reasons(plan_chain(chain(second={"words": 2}), workplace.store)) == {
        "last": ["different input: second · two"]
    }


def test_another_version_is_told(workplace):
    workplace.made(chain())
    bumped = stage("last", version="2")(leave_a_file)
    end = bumped("last · end", what=Words(), **chain().inputs)
    assert reasons(plan_chain(end, workplace.store)) == {"last": ["version 1 → 2"]}


def test_fewer_inputs_are_told(workplace):
    two = [first(f"first · {n}", what=Words(words=n)) for n in (1, 2)]
    workplace.made(last("last · end", what=Words(), early=two))
    assert reasons(plan_chain(last("last · end", what=Words(), early=two[:1]), workplace.store)) == {
        "last": ["early: 2 → 1"]
    }


def test_another_label_is_no_change_but_a_first_of_its_name(workplace):
    workplace.made(first("first · one", what=Words()))
    planned = plan_chain(first("first · other", what=Words(words=2)), workplace.store)
    assert reasons(planned) == {"first": ["no 'first · other' was made before"]}
    assert states(plan_chain(first("first · other", what=Words()), workplace.store)) == {"first": "found"}


def append(workplace, step, count: int):
    file = workplace.folder / "part.parquet"
    pq.write_table(pa.table({"number": range(count)}), file)
    return workplace.store.append(step.pool, file, count)


def test_rows_in_place_are_extended(workplace):
    workplace.made(chain())
    append(workplace, steps(chain())["rows"], 1200)
    planned = plan_chain(chain(rows={"words": 2}), workplace.store)
    assert states(planned) == {"first": "found", "rows": "extends", "second": "to do", "last": "to do"}
    assert reasons(planned)["rows"] == ["1,200 rows in place", "words 1 → 2"]
    assert (
        states(plan_chain(chain(rows={"tags": {"x": 1.0}}), workplace.store))["rows"] == "to do"
    )  # rows of another pool


def spoil(workplace, path: str) -> None:
    file = workplace.folder / "store" / path
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"!")


def test_bad_bytes_are_named_before_anything_that_reads_them_starts(workplace):
    workplace.made(chain())
    known, store = steps(chain()), workplace.store
    manifests = {name: store.manifest(step.stage.name, step.fingerprint) for name, step in known.items()}
    part, good = append(workplace, known["rows"], 7), append(workplace, known["rows"], 9)
    assert verify_inputs(plan_chain(chain(rows={"words": 2}), store), store) == []

    spoil(workplace, part.path)
    spoil(workplace, manifests["first"].files[0].path)
    spoil(workplace, manifests["second"].files[0].path)
    file, rows_ = verify_inputs(plan_chain(chain(rows={"words": 2}), store), store)
    assert manifests["first"].files[0].path in file and "sha256" in file
    assert part.path in rows_ and good.path not in rows_

    assert verify_inputs(plan_chain(chain(), store), store) == []  # nothing runs, so nothing is read


def test_a_missing_file_is_named(workplace):
    workplace.made(chain())
    second_ = steps(chain())["second"]
    (entry,) = workplace.store.manifest("second", second_.fingerprint).files
    workplace.store.blobs.delete(entry.path)
    (problem,) = verify_inputs(plan_chain(chain(last={"words": 2}), workplace.store), workplace.store)
    assert f"{entry.path}: missing" in problem and second_.fingerprint in problem


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, ["a.b 1 → 3"]),
        ({"a": 1}, {"a": 1, "new": 2}, ["new None → 2"]),
        ({"a": 1, "old": 2}, {"a": 1}, ["old 2 → None"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a.1 2 → 3"]),
        ({"a": [1]}, {"a": [1, 3]}, ["a [1] → [1, 3]"]),
        ({"a": "x" * 60}, {"a": "y" * 61}, [f"a {'x' * 60} → {'y' * 57}…"]),
    ],
)
def test_leaves_that_differ_are_told(before, after, told):
    assert compare_values("", before, after) == told
