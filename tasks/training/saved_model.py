"""Saves the trained model: adapters merged, in the training precision, with its tokenizer."""

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, Trainer

from tasks.loading import load_model
from tasks.training import zero
from tasks.training.lora import add_adapter, merge_adapter
from tasks.training.optimizer_state import put_weights, saved_buffers
from tasks.training.slices import SavedTensors
from tasks.training.zero_state import gather_weight, learning_parameters


def finish_model(model: torch.nn.Module, precision: str) -> PreTrainedModel:
    """Merges adapters in fp32, then converts the weights to the training precision."""
    whole = merge_adapter(model)
    return whole.to(torch.bfloat16) if precision == "bf16" else whole  # pyright: ignore[reportArgumentType]


def keep_model(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, job: dict, out: Path, instead: SavedTensors | None = None
) -> None:
    """The first process writes the model, with the weights `instead` if given. All processes must call it: under DeepSpeed
    each holds a part of the weights."""
    what, model = job["what"], trainer.model
    assert model is not None
    if trainer.is_deepspeed_enabled:
        model = whole_copy(model, job, trainer.is_world_process_zero())
    if model is not None and trainer.is_world_process_zero():
        if instead:
            put_weights(model, instead)
        save_model(finish_model(model, what["precision"]), tokenizer, Path(job["model"]), out / "model")


def whole_copy(split: torch.nn.Module, job: dict, keep: bool) -> torch.nn.Module | None:
    """The source model with the trained weights, which ZeRO splits among the processes; None without `keep`. Gathers one
    parameter at a time. All processes must call it."""
    zero.load_whole_again()
    whole, copied = None, {}
    if keep:
        plain = load_model(AutoModelForCausalLM, job["model"], torch.float32)
        whole = add_adapter(plain, job["what"].get("lora"), job["seed"])
        copied = dict(whole.named_parameters())
        buffers = dict(whole.named_buffers())
        [buffers[name].copy_(value) for name, value in saved_buffers(split)]
    for name, parameter in learning_parameters(split):
        value = gather_weight(parameter)
        if keep:
            copied[name].data.copy_(value)
    return whole


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Path, folder: Path) -> None:
    """Saves weights and tokenizer; copies the source's generation config, which training does not change."""
    kept = source / "generation_config.json"
    if kept.is_file():
        model.generation_config = GenerationConfig()  # some published configs fail transformers' check on saving
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if kept.is_file():
        shutil.copyfile(kept, folder / kept.name)
