"""Low-rank adapters; only this file imports peft. The model without its adapter is a preference objective's reference."""

from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, set_seed

from infra.errors import BadInput
from tasks.training.qlora import dequantise_model, is_quantised

TrainableModel: TypeAlias = PreTrainedModel | PeftModel


def add_adapter(model: PreTrainedModel, lora: dict | None, seed: int) -> TrainableModel:
    """Adds an adapter that does not change the model's output yet; returns the model unchanged if `lora` is None."""
    if lora is None:
        return model
    refuse_unknown(model, lora["targets"])
    set_seed(seed)  # get_peft_model draws random weights below, before the trainer sets the seed
    config = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        target_modules=list(lora["targets"]) or "all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    begun = get_peft_model(model, config)
    if is_quantised(model):
        del model.is_loaded_in_4bit  # peft no longer needs it; TRL would cast the adapter to bf16
    return begun


def refuse_unknown(model: PreTrainedModel, targets: list[str]) -> None:
    """Raises BadInput for an unknown layer name; peft ignores it if another name matches."""
    layers = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in layers):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
            raise BadInput(
                f"lora.targets: {target!r} is not a linear layer of the model; its linear layers are {known}"
            )


def has_adapter(model: torch.nn.Module) -> bool:
    return isinstance(model, PeftModel)


def without_adapter(model: torch.nn.Module) -> PreTrainedModel:
    """The model without peft's wrapper; its layers still contain the adapters."""
    return cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)


def adapter_off(model: torch.nn.Module) -> AbstractContextManager:
    return model.disable_adapter() if isinstance(model, PeftModel) else nullcontext()


def merge_adapter(model: torch.nn.Module) -> PreTrainedModel:
    """Merges the adapter into the model's weights. A quantised model is dequantised first, not replaced by the original full
    weights: the adapter was trained on the rounded weights."""
    if not isinstance(model, PeftModel):
        return cast(PreTrainedModel, model)
    if is_quantised(cast(PreTrainedModel, model.get_base_model())):
        adapter = {name: value.detach().cpu() for name, value in model.named_parameters() if value.requires_grad}
        model = get_peft_model(dequantise_model(cast(PreTrainedModel, model.unload())), model.peft_config["default"])
        model.load_state_dict(adapter, strict=False)
    return cast(PreTrainedModel, model.merge_and_unload())
