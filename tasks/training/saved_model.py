"""Saves the trained model: adapters merged, in the training precision, with its tokenizer."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, Trainer

from tasks.loading import load_model
from tasks.training import zero
from tasks.training.lora import add_adapter, merge_adapter
from tasks.training.optimizer_state import trained_tensors


def finish_model(model: torch.nn.Module, precision: str) -> PreTrainedModel:
    """Merges adapters in fp32, then converts the weights to the training precision."""
    whole = merge_adapter(model)
    return whole.to(torch.bfloat16) if precision == "bf16" else whole  # pyright: ignore[reportArgumentType]


def keep_model(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, job: dict, out: Path, instead: Path | None = None
) -> None:
    """The first process writes the model, with the weights of the file `instead` if given. All processes must call it: under
    DeepSpeed each holds a part of the weights."""
    what, shared, model = job["what"], trainer.is_deepspeed_enabled, trainer.model
    assert model is not None
    weights = trained_tensors(model, trainer.args) if shared else {}
    if trainer.is_world_process_zero():
        # ZeRO splits the trained weights among the processes: load the source model again and fill it.
        if shared:
            zero.load_whole_again()
            whole = load_model(AutoModelForCausalLM, job["model"], torch.float32)
            model = add_adapter(whole, what.get("lora"), job["seed"])
        if instead:
            weights = load_file(instead)
        model.load_state_dict(weights, strict=False)
        save_model(finish_model(model, what["precision"]), tokenizer, Path(job["model"]), out / "model")


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Path, folder: Path) -> None:
    """Saves weights and tokenizer; copies the source's generation config, which training does not change."""
    kept = source / "generation_config.json"
    if kept.is_file():
        model.generation_config = GenerationConfig()  # some published configs fail transformers' check on saving
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if kept.is_file():
        shutil.copyfile(kept, folder / kept.name)
