"""Loads a model that ZeRO 3 splits among the processes: each process reads only its share of every tensor.

transformers' own way gives the whole file to every process, and its first process sends each layer to the others. It is used
for models whose tensors it must rename or convert first.
"""

import ctypes
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter

from tasks.loading import LOCAL, load_model, refuse_no_model, report_load_errors
from tasks.training import zero
from tasks.training.slices import SavedTensors
from tasks.training.zero_state import fill_parameter, whole_shape

MMAP_THRESHOLD = -3  # glibc's M_MMAP_THRESHOLD: larger blocks are memory of their own


def load_split(folder: str | Path) -> PreTrainedModel:
    """A causal language model in fp32. `zero.begin_split_loading` or the training arguments must have begun ZeRO 3."""
    refuse_no_model(folder)
    zero.join_group()
    with memory_returned_at_once():
        with report_load_errors(f"model: {folder}"):
            model = fill_directly(Path(folder))
        return model.eval() if model else load_model(AutoModelForCausalLM, folder, torch.float32)


@contextmanager
def memory_returned_at_once() -> Iterator[None]:
    """Gives a freed tensor's memory back to the system. glibc would keep it between the shares that stay: four processes then
    held 1.75 copies of a model instead of 1.05."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    set_option = ctypes.CDLL(None).mallopt
    set_option(MMAP_THRESHOLD, 1 << 17)
    try:
        yield
    finally:
        set_option(MMAP_THRESHOLD, 1 << 25)  # up to which glibc raises it by itself


def fill_directly(folder: Path) -> PreTrainedModel | None:
    """The model with its weights as they are in the files; None if transformers must read them."""
    config, saved = AutoConfig.from_pretrained(folder, **LOCAL), saved_tensors(folder)
    if saved is None or getattr(config, "quantization_config", None):
        return None
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    if not stands_as_it_is(model, saved):
        return None
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fill_parameter(parameter, name, saved)
        for name, buffer in model.named_buffers():
            if name in saved:
                buffer.copy_(saved.whole(name))
    return model


def saved_tensors(folder: Path) -> SavedTensors | None:
    """The tensors of a model folder; None if its files are not named as transformers names them."""
    index = folder / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"].values() if index.exists() else ["model.safetensors"]
    files = [folder / Path(name).name for name in sorted(set(names))]
    return SavedTensors(files) if all(file.is_file() for file in files) else None


def stands_as_it_is(model: PreTrainedModel, saved: SavedTensors) -> bool:
    """True if every tensor of the model is in the files under its own name and shape."""
    if any(isinstance(one, WeightConverter) for one in get_model_conversion_mapping(model)):
        return False
    wanted: dict[str, Any] = {name: whole_shape(value) for name, value in model.named_parameters()}
    stored = model.state_dict()
    wanted |= {name: value.shape for name, value in model.named_buffers() if name in stored}
    return all(name in saved and saved.shape(name) == tuple(shape) for name, shape in wanted.items())
