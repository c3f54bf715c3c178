"""A training's weights and its optimizer's state: whole tensors by parameter name, for any number of processes.

A checkpoint therefore does not depend on the processes that wrote it: one process, several, or ZeRO can resume from it.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import TrainingArguments

from tasks.training import zero


def trained_tensors(model: torch.nn.Module, args: TrainingArguments) -> dict[str, Tensor]:
    """The tensors that training changes: trainable parameters (tied ones once) and buffers. All processes must call it; under
    DeepSpeed only the first process gets the parameters."""
    model = getattr(model, "module", model)
    stored = model.state_dict()
    kept = {name: value.detach() for name, value in model.named_buffers() if name in stored}
    if args.deepspeed:
        kept |= zero.gather_weights(model, keep=args.process_index == 0)
    else:
        kept |= {name: value.detach() for name, value in zero.learning_parameters(model)}
    return {name: value.contiguous() for name, value in kept.items()}


def state_of(model: torch.nn.Module, optimizer: Any, args: TrainingArguments) -> dict[str, Tensor]:
    """The optimizer's tensors as "<parameter>.<name>"."""
    model = getattr(model, "module", model)
    if args.deepspeed:
        return zero.gather_moments(model, optimizer, keep=args.process_index == 0)
    names = parameter_order(model, optimizer)
    states = optimizer.state_dict()["state"].items()
    return {f"{names[place]}.{key}": value.contiguous() for place, values in states for key, value in values.items()}


def put_state(
    model: torch.nn.Module,
    optimizer: Any,
    weights: dict,
    state: dict[str, Tensor],
    rate: float,
    args: TrainingArguments,
) -> None:
    """Restores the optimizer's state before the first step. Trainer has restored the weights, except DeepSpeed's fp32 copy."""
    model = getattr(model, "module", model)
    if args.deepspeed:
        zero.put_state(model, optimizer, weights, state, rate)
        return
    places = {name: place for place, name in enumerate(parameter_order(model, optimizer))}
    groups, states = optimizer.state_dict()["param_groups"], {}
    for path, value in state.items():
        name, _, key = path.rpartition(".")
        states.setdefault(places[name], {})[key] = value
    optimizer.load_state_dict({"state": states, "param_groups": [group | {"lr": rate} for group in groups]})


def parameter_order(model: torch.nn.Module, optimizer: Any) -> list[str]:
    """The parameters' names in the optimizer's order."""
    names = {id(value): name for name, value in model.named_parameters()}
    return [names[id(value)] for group in optimizer.param_groups for value in group["params"]]
