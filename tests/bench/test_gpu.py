"""The measurement on a GPU, in its small form on a CPU."""

import sys

from tests.bench import gpu
from tests.bench.training import Conditions, model_of


def test_the_small_form_verifies_and_measures(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--small"])
    for module, name in ((gpu.shared_prompt, "KERNEL"), (gpu.layout_trial, "find_objection")):
        monkeypatch.setattr(module, name, getattr(module, name))  # restored after the stand-in
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 0
    printed = capsys.readouterr().out
    assert printed.count("| agrees |") == len(gpu.HEADS) and "agrees with the padded way" in printed
    assert [line.split(" | ")[1] for line in printed.splitlines() if line.startswith("| 24:16")] == [
        "trl_dpo", "published", "ours",
    ]  # fmt: skip


def test_without_a_gpu_the_long_form_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu"])
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 2 and "no GPU is visible" in capsys.readouterr().out


def test_a_step_s_operations_are_six_for_each_weight_and_token():
    """Of a model whose attention is short beside its matrices; TRL's DPO also asks its reference, once forward."""
    import torch

    model = model_of(1000, Conditions(torch.device("cpu"), bf16=False, size="tiny"))
    weights = sum(parameter.numel() for parameter in model.model.layers.parameters())
    ours, dpo = (gpu.Work(model, 1, 2, 10, way) for way in ("ours", "trl_dpo"))
    head = 1000 * 64
    assert ours.operations == 6 * (weights * 10 * 7 + head * 10 * 6 + 2 * 2 * 64 * 10 * (0.5 + 3 * 4))
    assert dpo.operations == 8 * (weights * 10 * 6 + head * 10 * 4 + 2 * 2 * 64 * 10 * (2 * 0.5 + 2 * 4))
    assert (ours.tokens, dpo.tokens) == (90, 60)
