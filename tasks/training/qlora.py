"""QLoRA's base: linear layers in 4-bit NormalFloat with quantised scales. Only this file imports bitsandbytes."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from infra.errors import BadInput
from tasks.loading import load_model

BLOCK = 64  # weights that share a scale; bitsandbytes' own default, as in the paper


def load_base(folder: str | Path, base: str, precision: str) -> PreTrainedModel:
    """Loads the model to train in fp32; with `nf4` all linear layers except the head are in 4 bits, on the training device."""
    if base == "full":
        model = load_model(AutoModelForCausalLM, folder, torch.float32)
        refuse_quantised(folder, already=getattr(model, "hf_quantizer", None) is not None)
        return model
    if find_spec("bitsandbytes") is None:
        raise BadInput(
            "lora.base: nf4 needs the package bitsandbytes, which is not installed; run pip install bitsandbytes"
        )
    rounding = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[precision],
    )
    place = {"": PartialState(cpu=not torch.cuda.is_available()).device}
    model = load_model(AutoModelForCausalLM, folder, torch.float32, quantization_config=rounding, device_map=place)
    refuse_quantised(folder, already=cast(Any, model.hf_quantizer).pre_quantized)
    for name, layer in linear_layers(model):
        refuse_odd(name, layer)
        # Without this, bitsandbytes computes in bf16 and without gradients on some CPUs after an evaluation.
        cast(Any, layer).support_avx512bf16_for_cpu = False
    return model


def refuse_quantised(folder: str | Path, already: bool) -> None:
    """Raises BadInput for a quantised model: the adapter would learn on rounded weights, against the recipe's `base`."""
    if already:
        raise BadInput(f"model: {folder} is already quantised; give a model with full weights")


def refuse_odd(name: str, layer: torch.nn.Linear) -> None:
    if layer.source_cls is not torch.nn.Linear:
        raise BadInput(f"lora.base: nf4 supports only linear layers, but {name} is a {layer.source_cls.__name__}")
    if layer.in_features % BLOCK:  # on a CPU bitsandbytes uses wrong scales for such rows
        raise BadInput(
            f"lora.base: nf4 rounds blocks of {BLOCK} weights, but a row of {name} has {layer.in_features}"
            " weights, not a multiple"
        )


def base_of(what: dict) -> str:
    """The form of the weights that are not trained: "full" or "nf4"."""
    return (what.get("lora") or {}).get("base", "full")


def is_quantised(model: PreTrainedModel) -> bool:
    return getattr(model, "quantization_method", None) == "bitsandbytes"


def linear_layers(model: torch.nn.Module) -> list[tuple[str, torch.nn.Linear]]:
    from bitsandbytes.nn import Linear4bit  # pyright: ignore[reportPrivateImportUsage]

    return [(name, module) for name, module in model.named_modules() if isinstance(module, Linear4bit)]


def dequantise_model(model: PreTrainedModel) -> PreTrainedModel:
    """Replaces the 4-bit layers by fp32 layers with the same values. Works layer by layer on the CPU: the GPU may have no
    memory for the whole fp32 model."""
    from bitsandbytes.functional import dequantize_4bit

    for name, layer in linear_layers(model):
        plain = torch.nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        state = cast(Any, layer.weight).quant_state
        plain.weight = torch.nn.Parameter(dequantize_4bit(layer.weight.data, state).float().cpu())
        if layer.bias is not None:
            plain.bias = torch.nn.Parameter(layer.bias.data.float().cpu())
        model.set_submodule(name, plain)
    cast(Any, model.hf_quantizer).remove_quantization_config(model)
    return model.cpu()
