"""A training's weights and its optimizer's state by the names of the parameters, whole, however many processes share them.

So a checkpoint says nothing about how it was made: it goes on in one process, in several, or under ZeRO.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import TrainingArguments

from tasks.training import zero


def trained(model: torch.nn.Module, args: TrainingArguments) -> dict[str, Tensor]:
    """What training changes: the parameters that learn (each once, however often they are tied), and the buffers.
    All processes must ask; under DeepSpeed the first alone gets them."""
    model = getattr(model, "module", model)
    stored = model.state_dict()
    kept = {name: value.detach() for name, value in model.named_buffers() if name in stored}
    if args.deepspeed:
        kept |= zero.weights(model, keep=args.process_index == 0)
    else:
        kept |= {name: value.detach() for name, value in zero.learning(model)}
    return {name: value.contiguous() for name, value in kept.items()}


def state_of(model: torch.nn.Module, optimizer: Any, args: TrainingArguments) -> dict[str, Tensor]:
    """The optimizer's tensors as "<parameter>.<name>"."""
    model = getattr(model, "module", model)
    if args.deepspeed:
        return zero.moments(model, optimizer, keep=args.process_index == 0)
    names = in_order(model, optimizer)
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
    """The reverse, into a training that has not made a step yet; Trainer put back the weights, but for DeepSpeed's own."""
    model = getattr(model, "module", model)
    if args.deepspeed:
        zero.put(model, optimizer, weights, state, rate)
        return
    places = {name: place for place, name in enumerate(in_order(model, optimizer))}
    groups, states = optimizer.state_dict()["param_groups"], {}
    for path, value in state.items():
        name, _, key = path.rpartition(".")
        states.setdefault(places[name], {})[key] = value
    optimizer.load_state_dict({"state": states, "param_groups": [group | {"lr": rate} for group in groups]})


def in_order(model: torch.nn.Module, optimizer: Any) -> list[str]:
    """The parameters' names as the optimizer counts them."""
    names = {id(value): name for name, value in model.named_parameters()}
    return [names[id(value)] for group in optimizer.param_groups for value in group["params"]]
