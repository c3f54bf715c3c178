"""DeepSpeed's ZeRO: its configuration, and models that are split from the start.

Only this file and zero_state.py import DeepSpeed. No DeepSpeed op is compiled: the optimizer is torch's AdamW, with or without
offload.
"""

from importlib.util import find_spec
from typing import Any

import torch
from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

from infra.errors import BadInput


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


def forward_config(deepspeed: dict, precision: str) -> dict:
    """The configuration for forward passes of a split model, without a trainer."""
    config = zero_config(deepspeed, precision)
    assert config is not None
    config = {name: value for name, value in config.items() if value != "auto"}
    sharing = {name: value for name, value in config["zero_optimization"].items() if name != "offload_optimizer"}
    return config | {"zero_optimization": sharing, "train_micro_batch_size_per_gpu": 1}


def splits_weights(deepspeed: dict | None) -> bool:
    return bool(deepspeed) and deepspeed["zero"] == 3


def begin_split_loading(config: dict) -> HfDeepSpeedConfig:
    """From now on transformers splits the models that it builds among the processes, as long as the result is referenced."""
    return HfDeepSpeedConfig(config)


def join_group() -> None:
    """Joins the process group, which DeepSpeed must know before it reads a configuration: it compares the batch size with the
    number of processes."""
    import deepspeed

    deepspeed.init_distributed(auto_mpi_discovery=False)


def wrap_forward(model: torch.nn.Module, config: dict) -> torch.nn.Module:
    """A split model that gathers each layer's weights for its forward pass. All processes must do the same number of passes."""
    import deepspeed

    engine, *_ = deepspeed.initialize(model=model, config=config)
    return engine


def load_whole_again() -> None:
    """Clears transformers' DeepSpeed state: later models load unsplit."""
    unset_hf_deepspeed_config()
