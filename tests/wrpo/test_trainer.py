"""The WRPO trainer and program against TRL's own DPO trainer, against hand arithmetic, and at their edges."""

import hashlib
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from infra.errors import BadInput
from tasks.program import Progress
from tasks.records import PREFERENCE_RECORD
from tasks.training.qlora import base_of
from tasks.wrpo.batches import RESPONSES, collate_rows, encode_pairs, reference_log_probs, response_log_probs
from tasks.wrpo.objectives import compute_wrpo_dpo_loss
from tasks.wrpo.settings import ROLES, objective_names
from tasks.wrpo.train import main
from tests import tiny
from tests.wrpo.references import stored

BETA = 0.3
RECORDS = [
    {"prompt_id": f"{number:04x}", "messages": [{"role": "user", "content": prompt}], "source": "s",
     "source_best": source_best, "own_best": own_best, "own_worst": own_worst,
     "source_best_score": 3.0, "own_best_score": 2.0, "own_worst_score": 1.0,
     **dict.fromkeys(f"{role}_finish_reason" for role in ROLES)}
    for number, (prompt, source_best, own_best, own_worst) in enumerate(
        [("sort: cab", "abc", "acb", "no, I will not do that"), ("copy: q", "q and only q", "q", "p"),
         ("shift: hello", "ifmmp", "ifmmp?", "hello"), ("reverse: xyz", "zyx", "zy", ""),
         ("copy: ab", "ab", "ba", "b"), ("sort: ba", "ab", "a, then b", "ba"), ("shift: a", "b", "bb", "a")]
    )
]  # fmt: skip


def rows(records=RECORDS) -> list[dict]:
    """Encoded rows whose reference is another model than the policy, as after some steps of training."""
    encoded, _ = encode_pairs(records, tiny.tokenizer(), max_length=64)
    reference = tiny.llama(seed=1)
    tiny.fuse(reference)
    for place, values in reference_log_probs(reference, encoded, size=2, pad_id=0):
        encoded[place]["reference"] = values
    return encoded


def gradient(model) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def wrpo(alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    policy, batch = tiny.llama(seed=0), collate_rows(rows(), pad_id=0)
    tiny.fuse(policy)
    loss = compute_wrpo_dpo_loss(
        *(response_log_probs(policy, batch) - batch["reference"]), alpha=alpha, beta=BETA
    ).mean()
    loss.backward()
    return loss.detach(), gradient(policy)


def dpo(chosen: str, folder) -> tuple[torch.Tensor, torch.Tensor]:
    """TRL's own trainer, tokens, loss and live reference, on (chosen, own_worst)."""

    def answer(record, name):
        return [{"role": "assistant", "content": record[name]}]

    pairs = [
        {"prompt": record["messages"], "chosen": answer(record, chosen), "rejected": answer(record, "own_worst")}
        for record in RECORDS
    ]
    policy = tiny.llama(seed=0)
    trainer = DPOTrainer(
        model=policy,
        ref_model=tiny.llama(seed=1),
        args=DPOConfig(
            str(folder),
            beta=BETA,
            max_length=None,
            per_device_train_batch_size=len(RECORDS),
            bf16=False,
            report_to="none",
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tiny.tokenizer(),
    )
    loss = trainer.compute_loss(policy, next(iter(trainer.get_train_dataloader())))
    loss.backward()
    return loss.detach(), gradient(policy)


@pytest.mark.parametrize(("alpha", "chosen"), [(0.0, "own_best"), (1.0, "source_best")])
def test_the_ends_of_alpha_are_dpo_as_trl_has_it_in_loss_and_gradient(alpha, chosen, tmp_path):
    (loss, ours), (expected, theirs) = wrpo(alpha), dpo(chosen, tmp_path)
    assert abs(loss - expected) < 1e-5 and abs(loss - math.log(2)) > 0.01
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_log_probs_equal_one_plain_forward_per_response():
    model, plain, encoded = tiny.llama(), tiny.llama(), rows()
    tiny.fuse(model)
    with torch.no_grad():
        found = response_log_probs(model, collate_rows(encoded, pad_id=0))
        for line, name in enumerate(RESPONSES):
            for place, row in enumerate(encoded):
                ids = torch.cat([row["prompt"], row[name]]).long()
                log_probs = plain(ids[None]).logits[0].log_softmax(-1)
                start = len(row["prompt"])
                expected = sum(log_probs[at - 1, ids[at]] for at in range(start, len(ids)))
                assert found[line, place].item() == pytest.approx(expected.item(), rel=1e-5)
                assert tiny.tokenizer().decode(ids[-1:]) == "<end>"


def test_the_reference_does_not_depend_on_how_many_rows_are_scored_at_once():
    model, encoded = tiny.llama(), rows()
    tiny.fuse(model)
    alone = dict(reference_log_probs(model, encoded, size=1, pad_id=0))
    together = dict(reference_log_probs(model, encoded, size=5, pad_id=0))
    assert sorted(alone) == list(range(len(RECORDS)))
    for place, values in alone.items():
        torch.testing.assert_close(values, together[place], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("start"))


def trained(start, folder, records=RECORDS, seed=7, device_batch_size=2, how=None, **what) -> tuple[dict, list[dict]]:
    (folder / "out").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(records, schema=PREFERENCE_RECORD), folder / "pairs.parquet")
    job = {
        "model": str(start),
        "pairs": [str(folder / "pairs.parquet")],
        "what": {
            "objective": {"kind": "wrpo", "beta": BETA, "alpha": 0.5}, "learning_rate": 1e-3, "epochs": 1,
            "batch_size": 4, "max_length": 64, "warmup_ratio": 0.0, "max_steps": None, "precision": "fp32"} | what,
        "how": {
            "device_batch_size": device_batch_size, "gradient_checkpointing": False, "checkpoint_steps": 0,
            "layout": "shared-prompt"} | (how or {}),
        "seed": seed,
        "threads": 1,
    }  # fmt: skip
    settings, kind = job["what"], job["what"]["objective"]["kind"]
    if records and kind in objective_names() and "simpo" not in kind:
        base = base_of(settings)
        made = stored(start, records, folder / "reference", settings["max_length"], settings["precision"], base)
        job["reference"] = [str(made)]
    summary = main(job, folder / "out", Progress(folder / "out"))
    return summary, pq.read_table(folder / "out/steps.parquet").to_pylist()


def weights(folder) -> str:
    return hashlib.sha256((folder / "out/model/model.safetensors").read_bytes()).hexdigest()


def test_the_first_step_has_alpha_0_and_equals_its_reference(start, tmp_path):
    _, steps = trained(start, tmp_path)
    assert steps[0]["alpha"] == 0.0
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert steps[0]["margin"] == pytest.approx(0, abs=1e-5)


def test_training_on_seven_rows_learns_them(start, tmp_path):
    summary, steps = trained(start, tmp_path, batch_size=8, epochs=12)
    assert summary["loss_last"] < 0.3 and steps[-1]["accuracy_weighted"] == 1


def test_alpha_follows_the_optimizer_steps_whatever_the_accumulation(start, tmp_path):
    for device_batch_size in (1, 2, 4):
        _, steps = trained(start, tmp_path / str(device_batch_size), device_batch_size=device_batch_size, epochs=2)
        assert [step["alpha"] for step in steps] == [0.0, 0.125, 0.25, 0.375]
        assert [step["step"] for step in steps] == [1, 2, 3, 4]


def test_alpha_is_constant_inside_an_accumulation_window(start, tmp_path):
    _, steps = trained(start, tmp_path, device_batch_size=1, epochs=2)
    for step in steps:  # were alpha to move between micro-batches, the mean margin would not fit one alpha
        preferred = step["alpha"] * step["reward_source_best"] + (1 - step["alpha"]) * step["reward_own_best"]
        assert step["margin"] == pytest.approx(preferred - step["reward_own_worst"], abs=1e-6)


def test_fewer_rows_than_a_batch_are_one_step(start, tmp_path):
    summary, steps = trained(start, tmp_path, records=RECORDS[:3], batch_size=128)
    assert summary["steps"] == 1 and steps[0]["examples"] == 3
    assert steps[0]["grad_norm"] > 0 and math.isfinite(steps[0]["loss"])


def test_max_steps_ends_the_run_and_the_schedules_with_it(start, tmp_path):
    _, steps = trained(start, tmp_path / "short", epochs=9, max_steps=2)
    assert [step["alpha"] for step in steps] == [0.0, 0.25]
    assert [step["learning_rate"] for step in steps] == [1e-3, pytest.approx(5e-4)]
    summary, _ = trained(start, tmp_path / "enough", epochs=1, max_steps=50)
    assert summary["steps"] == 2


def test_every_example_weighs_the_same_however_it_falls_into_micro_batches(start, tmp_path):
    _, expected = trained(start, tmp_path / "4", device_batch_size=4, epochs=2)
    for device_batch_size in (1, 2):  # 7 rows: the last window holds 3, in micro-batches of 2 and 1
        _, steps = trained(start, tmp_path / str(device_batch_size), device_batch_size=device_batch_size, epochs=2)
        assert [step["examples"] for step in steps] == [4, 3, 4, 3]
        for step, same in zip(steps, expected, strict=True):
            if step["step"] == 1:  # nobody is ahead yet: the accuracies of a policy that is its reference are rounding
                step, same = ({key: of[key] for key in of if "accuracy" not in key} for of in (step, same))
            assert step == pytest.approx(same, rel=1e-4, abs=1e-5)


def test_a_job_done_twice_gives_the_same_weights_and_another_seed_others(start, tmp_path):
    for name, seed in {"one": 7, "two": 7, "other": 8}.items():
        trained(start, tmp_path / name, seed=seed)
    assert weights(tmp_path / "one") == weights(tmp_path / "two") != weights(tmp_path / "other")


def test_precision_and_layout_change_the_first_steps_little(start, tmp_path):
    _, expected = trained(start, tmp_path / "plain")
    for number, how in enumerate(
        [{"gradient_checkpointing": True}, {"layout": "padded"}, {"layout": "padded", "gradient_checkpointing": True}]
    ):
        summary, steps = trained(start, tmp_path / str(number), how=how)
        assert [step["loss"] for step in steps] == pytest.approx([step["loss"] for step in expected], abs=1e-6)
        assert summary["layout"] == how.get("layout", "shared-prompt")
    _, steps = trained(start, tmp_path / "bf16", precision="bf16")
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=0.02)
    assert steps[1]["loss"] == pytest.approx(expected[1]["loss"], abs=0.05)


def test_dropout_is_off(start, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(start, attention_dropout=0.5)
    _, steps = trained(tiny.save(model, tmp_path / "dropping"), tmp_path / "run")
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_the_output_is_a_model_folder_that_loads_and_one_row_per_step(start, tmp_path):
    summary, steps = trained(start, tmp_path)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "along", "checkpoints", "model", "progress.json", "speed.parquet", "steps.parquet"
    ]  # fmt: skip
    kept = json.loads((tmp_path / "out/model/generation_config.json").read_text())
    assert kept == json.loads((start / "generation_config.json").read_text())
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (start, tmp_path / "out/model"))
    assert any((a != b).any() for a, b in zip(before.parameters(), after.parameters(), strict=True))
    assert AutoTokenizer.from_pretrained(tmp_path / "out/model").chat_template == tiny.TEMPLATE
    fed = sum(  # four tokens of the template; the end token is predicted but never fed
        4 + len(record["messages"][0]["content"]) + len(record[name]) for record in RECORDS for name in RESPONSES
    )
    assert summary["tokens"] == sum(step["tokens"] for step in steps) == fed
    speed = pq.read_table(tmp_path / "out/speed.parquet").to_pylist()
    assert [(row["step"], row["tokens"]) for row in speed] == [(step["step"], step["tokens"]) for step in steps]
    assert all(1 < row["tokens_per_second"] < 1e6 for row in speed)
    assert (summary["rows"], summary["loss_first"], summary["loss_last"]) == (7, steps[0]["loss"], steps[1]["loss"])
    assert json.loads((tmp_path / "out/progress.json").read_text()) == {"done": 2, "total": 2, "unit": "steps"}


def test_truncation_cuts_one_response_and_counts_it(start, tmp_path):
    summary, _ = trained(start, tmp_path, max_length=24)
    assert summary["truncated"] == 1 and summary["rows"] == 7


def test_records_whose_prompt_is_too_long_are_left_out_and_counted(start, tmp_path):
    summary, steps = trained(start, tmp_path, max_length=23, batch_size=8)  # two prompts have 16 tokens: 7 are left
    assert (summary["left_out"], summary["rows"], steps[0]["examples"]) == (2, 5, 5)
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_records_whose_turns_the_template_refuses_are_left_out_and_counted():
    tokenizer = tiny.tokenizer(template=tiny.NO_SYSTEM + tiny.TEMPLATE)
    with_system = RECORDS[0] | {"messages": [{"role": "system", "content": "be brief"}, *RECORDS[0]["messages"]]}
    rows, counts = encode_pairs([with_system, *RECORDS[1:]], tokenizer, 64)
    assert counts["left_out"] == 1 and [row["prompt_id"] for row in rows] == [one["prompt_id"] for one in RECORDS[1:]]


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_prompts(start, tmp_path):
    broken = AutoModelForCausalLM.from_pretrained(start)
    broken.model.embed_tokens.weight.data[tiny.tokenizer().convert_tokens_to_ids("w")] = float("nan")
    tiny.save(broken, tmp_path / "broken")
    what = {
        "objective": {"kind": "wrpo-simpo"},
        "device_batch_size": 1,
    }  # without a reference that would be no number too
    with pytest.raises(FloatingPointError, match=r"loss .*nan.* at optimizer step 0; prompt ids: 0000$"):
        trained(tmp_path / "broken", tmp_path, **what)  # only prompt 0000 has a w, in its worst answer
    assert not (tmp_path / "out/model").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 3}, "batch_size 3 is not a multiple of how.device_batch_size 2 times 1"),
        ({"objective": {"kind": "kto"}}, "objective: 'kto'"),
        ({"records": []}, "pairs: no rows"),
        ({"max_length": 16}, "max_length: 16 is too short: the prompts of all"),
    ],
)
def test_input_at_fault_is_named(change, message, start, tmp_path):
    with pytest.raises(BadInput, match=message):
        trained(start, tmp_path, **change)
