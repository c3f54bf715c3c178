"""The program with each objective: which responses it reads, what it computes, how alpha goes, what it leaves."""

import math

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from infra.errors import BadInput
from tasks.wrpo.batches import encode_pairs, lay_out, response_log_probs
from tests import tiny
from tests.wrpo.test_trainer import RECORDS, trained, weights

FOUR = [record | {"source_worst": f"{record['own_worst']}!"} for record in RECORDS]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("start"))


def run(start, folder, kind, records=FOUR, fields=(), **more):
    objective = {"kind": kind, **dict(fields)}
    return trained(start, folder, records=records, **({"objective": objective, "batch_size": 8} | more))


ROLES = {
    "own": ("own_best", "own_worst"),
    "hybrid": ("source_best", "own_worst"),
    "sources": ("source_best", "source_worst"),
}


@pytest.mark.parametrize("kind", ["dpo", "ipo", "simpo"])
@pytest.mark.parametrize("pair", ROLES)
def test_an_objective_of_two_responses_reads_and_feeds_those_two_alone(kind, pair, start, tmp_path):
    blank = [record | {role: None for role in record.keys() - ROLES[pair] if "best" in role or "worst" in role}
             for record in FOUR]  # fmt: skip
    summary, steps = run(start, tmp_path, kind, records=blank, fields={"pair": pair})
    fed = sum(4 + len(row["messages"][0]["content"]) + len(row[role]) for row in FOUR for role in ROLES[pair])
    assert summary["tokens"] == fed and steps[0]["alpha"] is None
    for role in ("source_best", "own_best", "own_worst"):
        assert (steps[0][f"reward_{role}"] is not None) == (role in ROLES[pair])


@pytest.mark.parametrize(
    ("kind", "fields", "loss"),
    [
        ("wrpo", {"source_worst": True}, math.log(2)),
        ("wrpo", {"log_probs": "mean", "beta": 10.0}, math.log(2)),
        ("wrpo-ipo", {"tau": 0.5}, 1.0),
        ("dpo", {"pair": "sources"}, math.log(2)),
        ("ipo", {"tau": 0.25}, 4.0),
    ],
)
def test_a_policy_that_is_its_reference_starts_at_the_objectives_own_zero(kind, fields, loss, start, tmp_path):
    _, steps = run(
        start, tmp_path, kind, fields={"schedule": {"kind": "static"}, **fields} if "wrpo" in kind else fields
    )
    assert steps[0]["loss"] == pytest.approx(loss, abs=1e-5)
    assert steps[0]["margin"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", ["simpo", "wrpo-simpo"])
def test_simpo_reads_no_reference_and_rewards_means(kind, start, tmp_path):
    _, steps = run(start, tmp_path, kind, fields={"beta": 2.0, "gamma": 0.5})
    per_token = means(start)
    for role in ("own_best", "own_worst"):
        assert steps[0][f"reward_{role}"] == pytest.approx(2 * per_token[role].mean().item(), rel=1e-5)


def means(start) -> dict[str, torch.Tensor]:
    """Mean log-probability per token of each record's responses under the first policy."""
    model = AutoModelForCausalLM.from_pretrained(start)
    tiny.fuse(model)
    rows, _ = encode_pairs(FOUR, tiny.tokenizer(), 64)
    with torch.no_grad():
        found = response_log_probs(model, lay_out(rows, 0, "padded"))
    roles = ("source_best", "own_best", "own_worst")
    tokens = [torch.tensor([len(record[role]) + 1 for record in FOUR]) for role in roles]
    return {role: sums / count for role, sums, count in zip(roles, found, tokens, strict=True)}


def test_the_gap_that_is_logged_is_the_policys_own_preference_per_token(start, tmp_path):
    _, steps = run(start, tmp_path, "wrpo")
    found = means(start)
    assert steps[0]["gap"] == pytest.approx((found["own_best"] - found["source_best"]).mean().item(), rel=1e-5)


@pytest.mark.parametrize("device_batch_size", [1, 4])
def test_alpha_by_gap_ignores_the_accumulation(device_batch_size, start, tmp_path):
    fields = {"alpha": 0.5, "schedule": {"kind": "gap", "window": 2}}
    more = {"batch_size": 4, "epochs": 2, "device_batch_size": device_batch_size}
    _, steps = run(start, tmp_path, "wrpo", fields=fields, **more)
    assert len(steps) == 4 and steps[0]["alpha"] == 0.0
    for place in range(1, 4):
        recent = [step["gap"] for step in steps[max(0, place - 2) : place]]
        expected = 0.5 * min(1, math.exp(-sum(recent) / len(recent)))
        assert steps[place]["alpha"] == pytest.approx(expected)
        preferred = (
            expected * steps[place]["reward_source_best"] + (1 - expected) * steps[place]["reward_own_best"]
        )  # were alpha to move between micro-batches, the mean margin would not fit one alpha
        assert steps[place]["margin"] == pytest.approx(preferred - steps[place]["reward_own_worst"], abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "expected"), [("cosine", [0.0, 0.25]), ("static", [0.5, 0.5]), ("linear", [0.0, 0.25])]
)
def test_schedules_end_with_max_steps_and_hold_for_a_single_step(kind, expected, start, tmp_path):
    fields = {"alpha": 0.5, "schedule": {"kind": kind}}
    _, steps = run(start, tmp_path / "two", "wrpo", fields=fields, max_steps=2, epochs=9)
    assert [step["alpha"] for step in steps] == pytest.approx(expected)
    _, steps = run(start, tmp_path / "one", "wrpo", fields=fields, records=FOUR[:2], batch_size=128)
    assert [step["alpha"] for step in steps] == pytest.approx(expected[:1])


@pytest.mark.parametrize(("kind", "fields"), [("wrpo-simpo", {"source_worst": True}), ("dpo", {"pair": "sources"})])
def test_a_record_without_a_response_that_the_objective_reads_is_named(kind, fields, start, tmp_path):
    with pytest.raises(BadInput, match="prompt 0001: has no source_worst"):
        run(start, tmp_path, kind, records=[FOUR[0], FOUR[1] | {"source_worst": None}], fields=fields)


def test_bf16_leaves_bf16_weights_and_fp32_leaves_fp32(start, tmp_path):
    for precision, expected in (("bf16", "BF16"), ("fp32", "F32")):
        folder = tmp_path / precision
        run(start, folder, "wrpo", precision=precision)
        with safe_open(folder / "out/model/model.safetensors", "pt") as stored:
            assert {stored.get_slice(name).get_dtype() for name in stored.keys()} == {expected}  # noqa: SIM118
        assert AutoModelForCausalLM.from_pretrained(folder / "out/model", dtype="auto").dtype == getattr(
            torch, {"BF16": "bfloat16", "F32": "float32"}[expected]
        )


LORA = {"rank": 4, "alpha": 32.0, "targets": ["q_proj", "v_proj"]}


def test_lora_starts_at_its_reference_learns_and_leaves_a_whole_model(start, tmp_path):
    _, steps = run(start, tmp_path, "wrpo", lora=LORA, epochs=15, learning_rate=1e-2)
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-6) and steps[-1]["loss"] < 0.65
    assert not list((tmp_path / "out/model").glob("adapter*"))
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (start, tmp_path / "out/model"))
    changed = {name for name, value in before.named_parameters() if (value != after.get_parameter(name)).any()}
    assert changed == {
        f"model.layers.{layer}.self_attn.{target}.weight" for layer in (0, 1) for target in LORA["targets"]
    }


def test_lora_twice_gives_the_same_weights_with_gradient_checkpointing_too(start, tmp_path):
    for name, how in (("one", {}), ("two", {}), ("checkpointing", {"gradient_checkpointing": True})):
        torch.manual_seed(len(name))
        run(start, tmp_path / name, "wrpo", lora=LORA | {"targets": []}, how=how, epochs=2)
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    one, other = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name / "out/model") for name in ("one", "checkpointing")
    )
    for name, value in one.named_parameters():
        torch.testing.assert_close(value, other.get_parameter(name), rtol=1e-4, atol=1e-5)
