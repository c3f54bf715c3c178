"""What a process holds of a model under DeepSpeed's ZeRO: reads it for checkpoints, and writes it back."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

from tasks.training.slices import SavedTensors, Slice, slice_tensor

MOMENTS = ("exp_avg", "exp_avg_sq")


def gather_weight(parameter: torch.nn.Parameter) -> Tensor:
    """One trained parameter in fp32. All processes must call it."""
    from deepspeed.utils import safe_get_full_fp32_param

    found = safe_get_full_fp32_param(parameter)
    assert found is not None
    return found.reshape(whole_shape(parameter))


def held_slice(name: str, parameter: torch.nn.Parameter, moment: str | None = None) -> Slice:
    """What this process holds of a trained parameter in fp32, or of AdamW's `moment` of it."""
    start, size = held_interval(parameter)
    name = f"{name}.{moment}" if moment else name
    read = lambda: read_held(parameter, moment)[:size]
    return Slice(name, tuple(whole_shape(parameter)), start, size, torch.float32, read)


def held_interval(parameter: Any) -> tuple[int, int]:
    """(start, size) of the flattened parameter's elements whose fp32 values and optimizer state this process holds."""
    if is_split(parameter):
        # Each share has the same size: the last shares are padded, or are only padding.
        size = parameter.partition_numel()
        start = min(torch.distributed.get_rank() * size, parameter.ds_numel)
        return start, min(size, parameter.ds_numel - start)
    place = parameter._hp_mapping and parameter._hp_mapping.lp_fragment_address
    return (place.start, place.numel) if place else (0, 0)


def read_held(parameter: Any, moment: str | None) -> Tensor:
    from deepspeed.utils import safe_get_local_fp32_param, safe_get_local_optimizer_state

    if is_split(parameter):
        found = safe_get_local_optimizer_state(parameter, moment) if moment else safe_get_local_fp32_param(parameter)
        assert found is not None
        return found
    return parameter._hp_mapping.get_hp_fragment(moment)


def write_held(parameter: Any, value: Tensor, moment: str | None = None) -> None:
    """Writes what this process holds of a parameter, or of AdamW's `moment` of it."""
    from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

    if is_split(parameter):
        share = torch.zeros(parameter.partition_numel())
        share[: len(value)] = value
        if moment:
            safe_set_local_optimizer_state(parameter, share, moment)
        else:
            safe_set_local_fp32_param(parameter, share)
    elif len(value):
        parameter._hp_mapping.get_hp_fragment(moment).data.copy_(value)


def fill_parameter(parameter: torch.nn.Parameter, name: str, saved: SavedTensors) -> None:
    """Reads a parameter of a model that is not wrapped yet; if the model is split, this process's share of it."""
    if not is_split(parameter):
        parameter.data.copy_(saved.whole(name))
        return
    start, size = held_interval(parameter)
    share = cast(Any, parameter).ds_tensor.data
    share[:size].copy_(saved.read(name, start, size))
    share[size:].zero_()


def is_split(parameter: torch.nn.Parameter) -> bool:
    """True for a parameter that ZeRO 3 has split among the processes."""
    return hasattr(parameter, "ds_id")


def state_slices(model: torch.nn.Module, optimizer: Any, process: int) -> Iterator[Slice]:
    """This process's slices of AdamW's state, named "<parameter>.<name>"; the first process adds the step counts."""
    steps = next(iter(unwrap_optimizer(optimizer).optimizer.state.values()))["step"]
    for name, parameter in learning_parameters(model):
        yield from (held_slice(name, parameter, moment) for moment in MOMENTS)
        if process == 0:
            yield slice_tensor(f"{name}.step", steps)


def begin_optimizer(optimizer: Any) -> None:
    """Creates AdamW's state before the first step. If AdamW creates it itself, ZeRO 2 finds only one parameter group."""
    zero = unwrap_optimizer(optimizer)
    three = hasattr(zero, "fp32_partitioned_groups_flat")
    for flat in zero.fp32_partitioned_groups_flat if three else zero.single_partition_of_fp32_groups:
        zero.optimizer.state[flat] = {"step": torch.tensor(0.0)} | {name: torch.zeros_like(flat) for name in MOMENTS}
    if not three:
        zero._lazy_init_hp_params_optimizer_state()


def put_state(model: torch.nn.Module, optimizer: Any, saved: SavedTensors, state: SavedTensors, rate: float) -> None:
    """Writes this process's slices of saved weights and AdamW's state back after the training begins, before its first step.
    The weights too: the model holds only rounded ones if it is in bf16."""
    zero = unwrap_optimizer(optimizer)
    steps = state.whole(next(name for name in state.parts if name.endswith(".step")))
    for values in zero.optimizer.state.values():
        values["step"].copy_(steps)
    for name, parameter in learning_parameters(model):
        start, size = held_interval(parameter)
        write_held(parameter, saved.read(name, start, size))
        for moment in MOMENTS:
            write_held(parameter, state.read(f"{name}.{moment}", start, size), moment)
    for group in zero.optimizer.param_groups:
        group["lr"] = rate


def learning_parameters(model: torch.nn.Module):
    return [(name, value) for name, value in model.named_parameters() if value.requires_grad]


def whole_shape(parameter: torch.nn.Parameter) -> torch.Size:
    return getattr(parameter, "ds_shape", parameter.shape)


def unwrap_optimizer(optimizer: Any) -> Any:
    """ZeRO's optimizer from accelerate's wrapper; it contains torch's optimizer."""
    return getattr(optimizer, "optimizer", optimizer)
