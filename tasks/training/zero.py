"""DeepSpeed's ZeRO: its configuration; gathers the tensors that it splits among processes, and writes them back.

Only this file imports DeepSpeed. It compiles no DeepSpeed op: the optimizer is torch's AdamW, with or without offload.
"""

from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from infra.errors import BadInput

MOMENTS = ("exp_avg", "exp_avg_sq")


def zero_config(deepspeed: dict | None, precision: str) -> dict | None:
    """The configuration for `TrainingArguments(deepspeed=…)`, which replaces each "auto"."""
    if deepspeed is None:
        return None
    if find_spec("deepspeed") is None:
        raise BadInput(
            "how.deepspeed: the package deepspeed is not installed; run DS_BUILD_OPS=0 pip install deepspeed"
        )
    if not torch.cuda.is_available():
        without_own_communication()
    waiting = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    sharing: dict[str, Any] = {"stage": deepspeed["zero"], "overlap_comm": torch.cuda.is_available()}
    if deepspeed["offload"]:
        sharing |= {"offload_optimizer": waiting} | ({"offload_param": waiting} if deepspeed["zero"] == 3 else {})
    automatic = (
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "gradient_clipping",
    )
    return {
        "zero_optimization": sharing,
        # As without DeepSpeed: weights in fp32, arithmetic by autocast. DeepSpeed's bf16 mode also rounds the weights. This
        # changes log-probabilities by up to a nat: the policy would differ from its reference before the first step.
        "torch_autocast": {"enabled": precision == "bf16", "dtype": "bfloat16"},
        "zero_force_ds_cpu_optimizer": False,
        **dict.fromkeys(automatic, "auto"),
    }


def without_own_communication() -> None:
    """Disables DeepSpeed's communication op for CPUs, whose compilation takes minutes; gloo is used instead."""
    from deepspeed.ops import __compatible_ops__

    __compatible_ops__["deepspeed_shm_comm"] = False


def load_whole_again() -> None:
    """Clears transformers' DeepSpeed state: later models load unsplit."""
    unset_hf_deepspeed_config()


def gather_weights(model: torch.nn.Module, keep: bool) -> dict[str, Tensor]:
    """The trained parameters in fp32. All processes must call it; the result is empty without `keep`."""
    from deepspeed.utils import safe_get_full_fp32_param

    found = {}
    for name, parameter in learning_parameters(model):
        whole = safe_get_full_fp32_param(parameter)
        if keep:
            assert whole is not None
            found[name] = whole.reshape(whole_shape(parameter)).cpu().clone()
    return found


def gather_moments(model: torch.nn.Module, optimizer: Any, keep: bool) -> dict[str, Tensor]:
    """AdamW's state as whole tensors, named "<parameter>.<name>"."""
    from deepspeed.utils import safe_get_full_optimizer_state

    steps = next(iter(unwrap_optimizer(optimizer).optimizer.state.values()))["step"]
    found = {}
    for name, parameter in learning_parameters(model):
        for moment in MOMENTS:
            whole = safe_get_full_optimizer_state(parameter, moment)
            if keep:
                assert whole is not None
                found[f"{name}.{moment}"] = whole.reshape(whole_shape(parameter)).cpu().clone()
        found[f"{name}.step"] = steps.detach().cpu().clone()
    return found


def begin_optimizer(optimizer: Any) -> None:
    """Creates AdamW's state before the first step. If AdamW creates it itself, ZeRO 2 finds only one parameter group."""
    zero = unwrap_optimizer(optimizer)
    three = hasattr(zero, "fp32_partitioned_groups_flat")
    for flat in zero.fp32_partitioned_groups_flat if three else zero.single_partition_of_fp32_groups:
        zero.optimizer.state[flat] = {"step": torch.tensor(0.0)} | {name: torch.zeros_like(flat) for name in MOMENTS}
    if not three:
        zero._lazy_init_hp_params_optimizer_state()


def put_state(
    model: torch.nn.Module, optimizer: Any, saved: dict[str, Tensor], state: dict[str, Tensor], rate: float
) -> None:
    """Writes gathered weights and AdamW's state back after the training begins, before its first step. The weights too: the
    model holds only rounded ones if it is in bf16."""
    zero = unwrap_optimizer(optimizer)
    steps = next(value for name, value in state.items() if name.endswith(".step"))
    for values in zero.optimizer.state.values():
        values["step"].copy_(steps)
    for name, parameter in learning_parameters(model):
        write_share(parameter, saved[name])
        for moment in MOMENTS:
            write_share(parameter, state[f"{name}.{moment}"], moment)
    for group in zero.optimizer.param_groups:
        group["lr"] = rate


def write_share(parameter: torch.nn.Parameter, value: Tensor, moment: str | None = None) -> None:
    """Writes this process's share of a whole tensor."""
    from deepspeed.utils import (
        safe_set_full_fp32_param,
        safe_set_full_optimizer_state,
        safe_set_local_fp32_param,
        safe_set_local_optimizer_state,
    )

    more = (moment,) if moment else ()
    if not hasattr(parameter, "ds_id"):
        (safe_set_full_optimizer_state if moment else safe_set_full_fp32_param)(parameter, value, *more)
        return
    # Under ZeRO 3 the last share is padded, but DeepSpeed's setters of whole tensors ignore this.
    size = cast(Any, parameter).partition_numel()
    start = torch.distributed.get_rank() * size
    share = torch.zeros(size)
    share[: max(0, value.numel() - start)] = value.flatten()[start : start + size]
    (safe_set_local_optimizer_state if moment else safe_set_local_fp32_param)(parameter, share, *more)


def learning_parameters(model: torch.nn.Module):
    return [(name, value) for name, value in model.named_parameters() if value.requires_grad]


def whole_shape(parameter: torch.nn.Parameter) -> torch.Size:
    return getattr(parameter, "ds_shape", parameter.shape)


def unwrap_optimizer(optimizer: Any) -> Any:
    """ZeRO's optimizer from accelerate's wrapper; it contains torch's optimizer."""
    return getattr(optimizer, "optimizer", optimizer)
