"""QLoRA's base: linear layers in 4-bit NormalFloat, their scales quantised too. The one file that knows bitsandbytes."""

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
    """The model that a training starts from: in fp32, with `nf4` its linear layers but the head in 4 bits, on its device."""
    if base == "full":
        model = load_model(AutoModelForCausalLM, folder, torch.float32)
        refuse_quantised(folder, already=getattr(model, "hf_quantizer", None) is not None)
        return model
    if find_spec("bitsandbytes") is None:
        raise BadInput(
            "lora.base: nf4 needs the package bitsandbytes, which is not installed; pip install bitsandbytes"
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
        # Some CPUs would compute in bf16 whatever was asked for, without gradients, once a model was evaluated.
        cast(Any, layer).support_avx512bf16_for_cpu = False
    return model


def refuse_quantised(folder: str | Path, already: bool) -> None:
    """Its adapter would learn on rounded weights, whatever the recipe says of them."""
    if already:
        raise BadInput(f"model: {folder} is quantised already: train it from its full weights")


def refuse_odd(name: str, layer: torch.nn.Linear) -> None:
    if layer.source_cls is not torch.nn.Linear:
        raise BadInput(f"lora.base: nf4 is for linear layers, and {name} is a {layer.source_cls.__name__}")
    if layer.in_features % BLOCK:  # on a CPU bitsandbytes gives such rows the scales of other ones
        raise BadInput(
            f"lora.base: nf4 rounds blocks of {BLOCK} weights, and {name} has rows of {layer.in_features}, no multiple"
        )


def base_of(what: dict) -> str:
    """In which form a training holds the weights that it does not train."""
    return (what.get("lora") or {}).get("base", "full")


def is_quantised(model: PreTrainedModel) -> bool:
    return getattr(model, "quantization_method", None) == "bitsandbytes"


def linear_layers(model: torch.nn.Module) -> list[tuple[str, torch.nn.Linear]]:
    from bitsandbytes.nn import Linear4bit  # pyright: ignore[reportPrivateImportUsage]

    return [(name, module) for name, module in model.named_modules() if isinstance(module, Linear4bit)]


def dequantise_model(model: PreTrainedModel) -> PreTrainedModel:
    """An ordinary model of the very weights that the quantised one computes with, in fp32. Layer by layer to the CPU: a GPU
    that holds it in 4 bits may not hold it whole."""
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
