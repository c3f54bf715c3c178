"""Adapters: off is the model as it was, merged is the model as it became."""

import pytest
import torch

from infra.errors import BadInput
from tasks.training.lora import adapter_off, add_adapter, merge_adapter, without_adapter
from tests import tiny

LORA = {"rank": 2, "alpha": 4.0, "targets": ()}
IDS = torch.arange(7, 27)[None]


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def test_a_new_adapter_changes_nothing_and_a_trained_one_merges():
    plain, model = logits(tiny.llama()), add_adapter(tiny.llama(), LORA, seed=1)
    assert torch.equal(logits(model), plain)
    for name, value in model.named_parameters():
        assert value.requires_grad == ("lora_" in name)
        if "lora_B" in name:
            torch.nn.init.normal_(value.data)
    trained = logits(model)
    assert (trained - plain).abs().max() > 0.1
    with adapter_off(model):
        assert torch.equal(logits(model), plain)
    whole = merge_adapter(model)
    assert type(whole) is type(tiny.llama()) and not [name for name, _ in whole.named_parameters() if "lora" in name]
    torch.testing.assert_close(logits(whole), trained, rtol=1e-4, atol=1e-4)


def test_without_targets_every_linear_layer_but_the_head_is_adapted():
    model = add_adapter(tiny.llama(), LORA, seed=1)
    found = {name.split(".lora_")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lora_" in name}
    assert found == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_without_an_adapter_the_model_is_itself():
    model = tiny.llama()
    assert add_adapter(model, None, seed=1) is without_adapter(model) is merge_adapter(model) is model
    with adapter_off(model):
        pass


def test_a_target_that_no_layer_has_is_named_with_those_that_there_are():
    with pytest.raises(
        BadInput, match=r"lora.targets: 'query' is not a linear layer of the model; its linear layers are down_proj, "
    ):
        add_adapter(tiny.llama(), LORA | {"targets": ("q_proj", "query")}, seed=1)
    model = add_adapter(tiny.llama(), LORA | {"targets": ("q_proj", "mlp.up_proj")}, seed=1)
    found = {name.split(".lora_")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lora_" in name}
    assert found == {"q_proj", "up_proj"}
