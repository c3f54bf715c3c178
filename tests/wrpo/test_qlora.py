"""WRPO and SFT on a base in NF4: the reference is that very base, and what is kept says what was trained."""

import math

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from flows.config.loading import load_recipe
from infra.errors import BadInput
from tasks.training import saved_model as kept
from tasks.training.checkpoints import finished_checkpoints
from tasks.training.qlora import dequantise_model, load_base
from tasks.wrpo.batches import encode_pairs, reference_log_probs
from tests import tiny
from tests.sft import test_best as best
from tests.sft import test_train as sft
from tests.test_quantised import needs_bitsandbytes
from tests.wrpo.references import log_probs, stored
from tests.wrpo.test_reference import LABEL, chain
from tests.wrpo.test_trainer import RECORDS, trained

QLORA = {"rank": 4, "alpha": 32.0, "targets": [], "base": "nf4"}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny.save(tiny.llama(hidden=64), tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def rounded(start, tmp_path_factory):
    """An ordinary model of the weights that the base is rounded to."""
    return tiny.save(dequantise_model(load_base(start, "nf4", "fp32")), tmp_path_factory.mktemp("rounded"))


def said(model) -> torch.Tensor:
    rows, _ = encode_pairs(RECORDS, tiny.tokenizer(), 64)
    found = dict(reference_log_probs(model, rows, 4, 0))
    return torch.stack([found[place] for place in range(len(rows))])


@pytest.fixture
def trained_models(monkeypatch) -> list[torch.Tensor]:
    """What the models said at the end of their training, before they were made whole."""
    seen, plain = [], kept.keep_model

    def keep(trainer, *rest):
        seen.append(said(trainer.model))
        plain(trainer, *rest)

    monkeypatch.setattr("tasks.wrpo.train.keep_model", keep)
    return seen


@needs_bitsandbytes
@pytest.mark.parametrize("layout", ["shared-prompt", "padded"])
def test_the_reference_is_the_base_as_it_was_rounded(layout, start, rounded, tmp_path):
    found, expected, full = (
        log_probs(stored(folder, RECORDS, tmp_path / name, base=base, layout=layout))
        for folder, name, base in ((start, "nf4", "nf4"), (rounded, "rounded", "full"), (start, "full", "full"))
    )
    assert found.keys() == expected.keys() == full.keys()
    for response, (value, tokens) in found.items():
        assert expected[response] == (pytest.approx(value, rel=1e-5, abs=1e-4), tokens)
    assert max(abs(full[response][0] - value) for response, (value, _) in found.items()) > 1


@needs_bitsandbytes
@pytest.mark.parametrize(("precision", "apart"), [("fp32", 1e-3), ("bf16", 1.0)])
def test_training_starts_at_its_reference_and_saves_a_plain_model(
    precision, apart, start, rounded, tmp_path, trained_models
):
    """Measured: 1e-5 and 0.2 nats of a whole response, which the training moved by tens."""
    how = {"layout": "padded", "gradient_checkpointing": precision == "bf16"}
    what = {"lora": QLORA, "precision": precision, "epochs": 4, "learning_rate": 1e-2}
    _, steps = trained(start, tmp_path, how=how, **what)
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs={"fp32": 1e-5, "bf16": 0.05}[precision])
    assert steps[-1]["loss"] < 0.65
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "out/model", dtype="auto")
    assert not list((tmp_path / "out/model").glob("adapter*")) and type(after) is type(tiny.llama())
    ids = AutoTokenizer.from_pretrained(tmp_path / "out/model")("copy: a", return_tensors="pt")
    assert len(after.generate(**ids, max_new_tokens=3, do_sample=False)[0]) > ids["input_ids"].shape[1]
    tiny.fuse(after.float())
    ((trained_said),) = trained_models
    assert (said(after) - trained_said).abs().max() < apart
    before = AutoModelForCausalLM.from_pretrained(rounded)
    tiny.fuse(before)
    assert (said(before) - trained_said).abs().max() > 10 * apart


@needs_bitsandbytes
def test_a_reference_of_the_full_weights_is_refused(start, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.wrpo.test_trainer.base_of", lambda what: "full")
    with pytest.raises(BadInput, match=r"reference: prompt 000\d: log pi_ref of \w+ is stored as"):
        trained(start, tmp_path, lora=QLORA)


@needs_bitsandbytes
def test_sft_starts_from_the_rounded_base_and_trains_its_adapter_in_fp32(start, rounded, tmp_path, monkeypatch):
    monkeypatch.setattr(sft, "job", lambda *given, plain=sft.job, **what: every_step(plain(*given, **what)))
    summary = sft.trained(start, tmp_path, lora=QLORA, epochs=8, learning_rate=3e-2)
    expected = sft.cross_entropy_over_responses(rounded, sft.TEXTS)
    assert summary["loss_first"] == pytest.approx(expected, rel=1e-4) and summary["loss_last"] < expected / 2
    adapter = load_file(finished_checkpoints(tmp_path / "out")[-1] / "model.safetensors")
    assert all("lora_" in name and not torch.equal(value, value.bfloat16().float()) for name, value in adapter.items())
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (rounded, tmp_path / "out/model"))
    changed = {name for name, value in before.named_parameters() if (value != after.get_parameter(name)).any()}
    assert changed == {name for name, _ in before.named_parameters() if "_proj" in name}


@needs_bitsandbytes
def test_the_better_moment_is_merged_into_the_rounded_base(start, tmp_path):
    what = {"learning_rate": 0.3, "warmup_ratio": 0.9, "epochs": 99, "max_steps": 7, "lora": QLORA}
    summary = sft.trained(start, tmp_path, texts=best.TEXTS, best_of_two=best.HALF | {"every": 1}, **what)
    lost = [summary[f"held_out_loss_{moment}"] for moment in ("before", "last")]
    kept = sft.cross_entropy_over_responses(tmp_path / "out/model", best.unseen())
    assert kept == pytest.approx(min(lost), rel=1e-4) and kept < max(lost) - 0.1


def every_step(job: dict) -> dict:
    return job | {"how": job["how"] | {"checkpoint_steps": 1}}


def test_a_rounded_base_changes_only_its_own_addresses():
    lora = ["wrpo.lora.rank=4", "wrpo.lora.alpha=8.0"]
    plain, full, nf4 = chain(*lora), chain(*lora, "wrpo.lora.base=full"), chain(*lora, "wrpo.lora.base=nf4")
    assert full["WRPO"].address == plain["WRPO"].address != nf4["WRPO"].address
    assert full[LABEL].address == plain[LABEL].address != nf4[LABEL].address
    assert full[LABEL].pool == plain[LABEL].pool == chain()[LABEL].pool != nf4[LABEL].pool
    both = chain(*lora, "wrpo.lora.base=nf4", "wrpo.beta=0.5", "wrpo.lora.rank=8")
    assert both[LABEL].address == nf4[LABEL].address


@pytest.mark.parametrize("stage", ["sft", "wrpo"])
def test_deepspeed_does_not_share_out_what_is_rounded(stage):
    lora = [f"{stage}.lora={{rank=4, alpha=8, base='nf4'}}"]
    load_recipe("demo", lora)
    message = rf'how.{stage}.deepspeed: DeepSpeed does not shard nf4 weights, .*: remove it, or set {stage}.lora.base = "full"'
    with pytest.raises(BadInput, match=message):
        load_recipe("demo", [*lora, f"how.{stage}.deepspeed={{zero=2}}"])
