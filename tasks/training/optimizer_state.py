"""A training's weights and its optimizer's state as slices, by parameter name.

Every process saves only what it holds, and reads only what it will hold. A checkpoint therefore does not depend on the
processes that wrote it: one process, several, or ZeRO can resume from it.
"""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import TrainingArguments

from tasks.training import zero_state
from tasks.training.slices import SavedTensors, Slice, slice_tensor


def weight_slices(model: torch.nn.Module, args: TrainingArguments) -> Iterator[Slice]:
    """This process's slices of the tensors that training changes: trainable parameters (tied ones once) and buffers."""
    model = getattr(model, "module", model)
    if args.process_index == 0:
        yield from (slice_tensor(name, value) for name, value in saved_buffers(model))
    for name, parameter in zero_state.learning_parameters(model):
        if args.deepspeed:
            yield zero_state.held_slice(name, parameter)
        else:
            yield slice_tensor(name, parameter, args.process_index, args.world_size)


def state_slices(model: torch.nn.Module, optimizer: Any, args: TrainingArguments) -> Iterator[Slice]:
    """This process's slices of the optimizer's tensors, named "<parameter>.<name>"."""
    model = getattr(model, "module", model)
    if args.deepspeed:
        yield from zero_state.state_slices(model, optimizer, args.process_index)
        return
    for name, parameter in optimized_parameters(model, optimizer):
        for key, value in states_of(optimizer)[parameter].items():
            if value.numel() > 1 or args.process_index == 0:
                yield slice_tensor(f"{name}.{key}", value, *share_between(value, args))


def share_between(value: torch.Tensor, args: TrainingArguments) -> tuple[int, int]:
    """(process, processes) that share a tensor: a step count belongs to the first process."""
    return (args.process_index, args.world_size) if value.numel() > 1 else (0, 1)


def put_weights(model: torch.nn.Module, saved: SavedTensors) -> None:
    """Writes saved weights into a model before it is wrapped; each process reads only what it holds."""
    with torch.no_grad():
        for name, buffer in saved_buffers(model):
            if name in saved:
                buffer.copy_(saved.whole(name))
        for name, parameter in zero_state.learning_parameters(model):
            zero_state.fill_parameter(parameter, name, saved)


def put_state(
    model: torch.nn.Module,
    optimizer: Any,
    weights: SavedTensors,
    state: SavedTensors,
    rate: float,
    args: TrainingArguments,
) -> None:
    """Restores the optimizer's state before the first step. `put_weights` has restored the weights, except DeepSpeed's fp32
    copy."""
    model = getattr(model, "module", model)
    if args.deepspeed:
        zero_state.put_state(model, optimizer, weights, state, rate)
        return
    keys = sorted({name.rpartition(".")[2] for name in state.parts})
    for name, parameter in optimized_parameters(model, optimizer):
        values = {key: state.whole(f"{name}.{key}") for key in keys if f"{name}.{key}" in state}
        # As in AdamW itself: the step count stays on the CPU.
        found = {key: value.to(parameter.device) if value.dim() else value for key, value in values.items()}
        if found:
            states_of(optimizer)[parameter] = found
    for group in optimizer.param_groups:
        group["lr"] = rate


def saved_buffers(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """The buffers that belong to the model's weights."""
    stored = model.state_dict()
    return [(name, value) for name, value in model.named_buffers() if name in stored]


def optimized_parameters(model: torch.nn.Module, optimizer: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters and their names, in the optimizer's order."""
    names = {id(value): name for name, value in model.named_parameters()}
    return [(names[id(value)], value) for group in optimizer.param_groups for value in group["params"]]


def states_of(optimizer: Any) -> Any:
    return zero_state.unwrap_optimizer(optimizer).state
