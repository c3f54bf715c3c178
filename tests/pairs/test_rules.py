"""Every rule against the plain loops of naive.py, on worlds full of ties, missing sources, scores and checks."""

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import BadInput
from tasks.pairs import candidates, rules
from tasks.pairs.stage import Pairs, SftRecords, build_pairs, build_sft_records
from tasks.stage import How
from tests.pairs import naive
from tests.pairs.worlds import CATEGORIES, SOURCES, responses, worlds, write

ROLES = ("source_best", "source_worst", "own_best", "own_worst")
margins = st.sampled_from([0.0, 0.3, 0.7])
gaps = st.one_of(
    st.sampled_from(
        [rules.ScoreGap(), rules.ScoreGap(low=0.3, high=0.7), rules.ScoreGap(low=0.25), rules.ScoreGap(high=0.75)]
    ),
    st.builds(
        rules.ScoreGap, low=st.sampled_from([0.0, 0.3]), high=st.sampled_from([0.5, 0.8, 1.0]), unit=st.just("quantile")
    ),
)
ways = st.sampled_from(["dropped", "learned"])
lengths = {"min_tokens": st.sampled_from([0, 0, 2]), "cut_chosen": ways}
common = {"sources": st.sampled_from([(), (), ("south",), ("west", "north")]), **lengths}
both = common | {"cut_rejected": ways}
RULES = {
    "wrpo": st.builds(
        rules.Wrpo,
        kind=st.just("wrpo"),
        rank=st.sampled_from([1, 2]),
        source_worst=st.booleans(),
        margin=margins,
        **both,
    ),
    "on-policy": st.builds(rules.OnPolicy, kind=st.just("on-policy"), margin=margins, cut_rejected=ways, **lengths),
    "hybrid": st.builds(rules.Hybrid, kind=st.just("hybrid"), margin=margins, **both),
    "same-source": st.builds(rules.SameSource, kind=st.just("same-source"), gap=gaps, **both),
    "math": st.builds(rules.Math, kind=st.just("math"), gap=st.none() | gaps, **both),
    "code": st.builds(rules.Code, kind=st.just("code"), same_source=st.booleans(), gap=st.none() | gaps, **both),
}
RECORDS = {
    "best": st.builds(rules.Best, kind=st.just("best"), **common),
    "best-correct": st.builds(rules.BestCorrect, kind=st.just("best-correct"), **common),
}
thorough = settings(max_examples=80, deadline=None)


def made(stage, what, world, inputs_too=()):
    """The records that a stage makes of a world by prompt, and what it counted; no records where it refuses."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "BATCH", 3)  # so that even these few rows are read and written in several batches
        run, inputs = write(world, Path(folder))
        try:
            stage.work(run, what, How(), **{**inputs, **dict(inputs_too)})
        except BadInput as problem:
            assert "makes a record" in str(problem) or "makes a pair" in str(problem)
            return {}, run.counts
        (file,) = run.folder.iterdir()
        return {row["prompt_id"]: row for row in pq.read_table(file).to_pylist()}, run.counts


@pytest.mark.parametrize("kind", RULES)
def test_a_rule_of_pairs_chooses_what_the_plain_loops_choose(kind):
    @thorough
    @given(world=worlds(), rule=RULES[kind])
    def check(world, rule):
        own = {"own_responses": ("own",), "own_scores": ("own",)} if rule.reads_own else {}
        found, counts = made(build_pairs, Pairs(sources=SOURCES, rule=rule), world, own)
        expected, expected_counts = naive.records(rule, responses(world, "preference"))
        assert {prompt: flat(row) for prompt, row in found.items()} == {
            prompt: expected_row(chosen) for prompt, chosen in expected.items()
        }
        agree(counts, expected_counts, len(expected), len(responses(world, "preference")))
        for role in ROLES:
            cut = sum(role in one and one[role]["finish_reason"] == "length" for one in expected.values())
            assert counts.get(f"cut_off_{role}", 0) == cut

    check()


@pytest.mark.parametrize("kind", RECORDS)
def test_a_rule_of_sft_records_chooses_what_the_plain_loops_choose(kind):
    @thorough
    @given(world=worlds(), rule=RECORDS[kind])
    def check(world, rule):
        found, counts = made(build_sft_records, SftRecords(sources=SOURCES, rule=rule), world)
        expected, expected_counts = naive.records(rule, responses(world, "sft"))
        columns = ("response", "source", "score", "finish_reason")
        assert {prompt: tuple(row[name] for name in columns) for prompt, row in found.items()} == {
            prompt: tuple(chosen["best"][name] for name in ("text", *columns[1:]))
            for prompt, chosen in expected.items()
        }
        cut = sum(chosen["best"]["finish_reason"] == "length" for chosen in expected.values())
        assert counts.get("cut_off_response", 0) == cut
        agree(counts, expected_counts, len(expected), len(responses(world, "sft")))

    check()


@thorough
@given(world=worlds())
def test_given_records_are_the_responses_that_came_with_the_prompts(world):
    found, counts = made(
        build_sft_records, SftRecords(sources=(), rule=rules.GivenResponse(kind="given")), world, NO_SOURCES
    )
    asked = {prompt: one["response"] for prompt, one in world.items() if one["part"] == "sft"}
    expected = {prompt: response for prompt, response in asked.items() if response is not None}
    assert {prompt: row["response"] for prompt, row in found.items()} == expected
    assert all(row["source"] == "given" and row["score"] is None for row in found.values())
    assert all(row["finish_reason"] is None for row in found.values())
    assert counts["dropped_without_response"] == len(asked) - len(expected)


NO_SOURCES = {"responses": (), "scores": (), "checks": ()}


@thorough
@given(world=worlds(), talk=st.one_of(*RULES.values()), sums=RULES["math"])
def test_each_category_has_its_own_rule(world, talk, sums):
    rule = rules.PairsByCategory(kind="by-category", rules={"talk": talk, "sums": sums})
    own = {"own_responses": ("own",), "own_scores": ("own",)} if rule.reads_own else {}
    found, counts = made(build_pairs, Pairs(sources=SOURCES, rule=rule), world, own)
    asked = responses(world, "preference")
    of = lambda name: {prompt: said for prompt, said in asked.items() if world[prompt]["category"] == name}
    (first, one), (second, other) = naive.records(talk, of("talk")), naive.records(sums, of("sums"))
    assert {prompt: flat(row) for prompt, row in found.items()} == {
        prompt: expected_row(chosen) for prompt, chosen in (first | second).items()
    }
    without = Counter(dropped_without_rule=len(of(CATEGORIES[2])))
    agree(counts, one + other + without, len(first | second), len(asked))


def flat(row):
    return {
        role: (row[role], row[f"{role}_score"], row[writer] if writer else None, row[f"{role}_finish_reason"])
        for role, writer in WRITERS
        if row[role]
    }


WRITERS = (("source_best", "source"), ("source_worst", "worst_source"), ("own_best", None), ("own_worst", None))


def expected_row(chosen):
    return {
        role: tuple(
            chosen[role][name] if name else None
            for name in ("text", "score", "source" if writer else None, "finish_reason")
        )
        for role, writer in WRITERS
        if role in chosen
    }


def agree(counts, expected, records, prompts):
    """Every prompt and every response that was left out stands under one reason."""
    reasons = {name: value for name, value in counts.items() if name.startswith(("dropped_", "responses_")) and value}
    assert reasons == {name: value for name, value in expected.items() if value}
    assert counts["prompts"] == prompts and counts["rows"] == records
    assert records + sum(value for name, value in reasons.items() if name.startswith("dropped_")) == prompts


@pytest.mark.parametrize("rule", [rules.Math(kind="math"), rules.Code(kind="code")])
def test_a_rule_about_correctness_is_refused_without_checks(tmp_path, rule):
    with pytest.raises(BadInput, match=rf"pairs\.kind: '{rule.kind}' needs checks of the responses"):
        build_pairs.work(None, Pairs(sources=SOURCES, rule=rule), How(), prompts=(), splits=())


def test_a_check_that_is_neither_right_nor_wrong_is_refused(tmp_path):
    said = [{"text": "x", "tokens": 1, "finish_reason": "stop", "sample_index": 0, "score": 0.5, "check": 0.5}]
    one = {"messages": [], "category": "", "response": None, "part": "preference"}
    run, inputs = write({"p": {**one, "said": {**dict.fromkeys((*SOURCES, "own"), ()), "south": said}}}, tmp_path)
    with pytest.raises(BadInput, match=r"1 \(correct\) or 0 \(incorrect\), but .* is 0\.5"):
        build_pairs.work(run, Pairs(sources=SOURCES, rule=rules.Math(kind="math")), How(), **inputs)
