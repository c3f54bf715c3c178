"""Loads models and tokenizers from a folder. Refuses incomplete models: no weight is initialised at random."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from infra.errors import BadInput

# A template that writes today's date would give different tokens each day, so it always gets the default date of
# Llama 3.1's template.
TODAY = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"
# Without trust_remote_code=False transformers asks at the terminal if it may run a model's code.
LOCAL = {"local_files_only": True, "trust_remote_code": False}


def load_model(kind: Any, folder: str | Path, dtype: str | torch.dtype = "auto", **more: Any) -> PreTrainedModel:
    """Loads a model by `kind`, one of transformers' Auto classes, with the arguments `more`. Reads only safetensors in
    the folder and runs no code from it."""
    if not (Path(folder) / "config.json").is_file():
        raise BadInput(f"model: {folder} has no config.json")
    if (Path(folder) / "adapter_config.json").exists():  # transformers would load the base model that this file names
        raise BadInput(
            f"model: {folder} is an adapter: merge it into its base model, and give the merged model's folder"
        )
    with report_load_errors(f"model: {folder}"):
        model, found = kind.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **more, **LOCAL
        )
    missing = sorted(found["missing_keys"]) + sorted(str(key) for key in found["mismatched_keys"])
    if missing:
        raise BadInput(f"model: {folder} lacks weights that {kind.__name__} needs: {', '.join(missing[:5])}")
    return model


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Loads a tokenizer; refuses it if its chat template is missing or fails (transformers renders it in a sandbox)."""
    with report_load_errors(f"model: the tokenizer in {folder}"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    if not tokenizer.chat_template:
        raise BadInput(f"model: the tokenizer in {folder} has no chat template")
    template = tokenizer.chat_template
    if isinstance(template, str) and "strftime_now" in template and not template.startswith(TODAY):
        tokenizer.chat_template = TODAY + template
    with report_load_errors(f"model: the chat template in {folder}"):
        tokenizer.apply_chat_template([{"role": "user", "content": "a question"}], add_generation_prompt=True)
    return tokenizer


@contextmanager
def report_load_errors(what: str) -> Iterator[None]:
    """Turns every exception but out-of-memory into BadInput about `what`, since for a broken file libraries may raise any
    exception."""
    try:
        yield
    except Exception as problem:
        if out_of_memory(problem):
            raise
        raise BadInput(f"{what} cannot be loaded: {' '.join(str(problem).split())[:300]}") from problem


def out_of_memory(problem: Exception) -> bool:
    """True for an out-of-memory error. On a CPU torch has no special exception for it, so the message is checked."""
    return isinstance(problem, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(problem)


def pad_rows(rows: list[list[int]], token: int | None, side: str) -> dict[str, torch.Tensor]:
    """A batch of token ids with its mask. The mask hides padding, so a model without a pad token may get any id."""
    width = max(len(row) for row in rows)
    ids, mask = torch.full((len(rows), width), token or 0), torch.zeros((len(rows), width), dtype=torch.long)
    for line, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[line, place], mask[line, place] = torch.tensor(row), 1
    return {"input_ids": ids, "attention_mask": mask}
