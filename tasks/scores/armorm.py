"""ArmoRM (RLHFlow/ArmoRM-Llama3-8B-v0.1, arXiv 2406.12845): many objectives under a gate, on transformers' Llama.

The last token's state gives a reward per objective. The state at the end of the user's turn, where the assistant's turn
opens, gives the objectives' weights. A matrix removes the effect of verbosity from each reward. The code published with
the model is not run.
"""

import itertools
import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import LlamaModel, PreTrainedModel, PreTrainedTokenizerBase

from infra.errors import BadInput
from tasks.loading import load_model
from tasks.scores.conversation import Text

OPENING = ("<|eot_id|>", "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n")
DEFAULTS = {"num_objectives": 19, "gating_temperature": 10, "gating_hidden_dim": 1024, "gating_n_hidden": 3}


class ArmoRMHeads:
    """The backbone and its heads; the heads are in fp32."""

    def __init__(self, folder: str | Path, tokenizer: PreTrainedTokenizerBase):
        config = {**DEFAULTS, **json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))}
        self.temperature = config["gating_temperature"]
        backbone, shapes = load_model(LlamaModel, folder), head_shapes(config)
        check_names(folder, backbone, shapes)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.backbone = backbone.to(device).eval()  # pyright: ignore[reportArgumentType]
        self.heads = {name: each.float().to(backbone.device) for name, each in read_heads(folder, shapes).items()}
        self.opening = opening_ids(tokenizer, folder)

    def read_position(self, text: Text) -> int | None:
        """The index at which OPENING starts for the last assistant turn; None if the text has no such turn."""
        width = len(self.opening)
        places = range(len(text.ids) - width, -1, -1)
        return next((place for place in places if text.ids[place : place + width] == self.opening), None)

    def columns(self, last: Tensor, at_places: Tensor) -> list[dict]:
        rewards = last.float() @ self.heads["regression_layer.weight"].T
        gate = self.gate(at_places.float())
        scores = (gate * (rewards @ self.heads["reward_transform_matrix"])).sum(1)
        return [
            {"score": score, "objectives": objectives, "gate": weights}
            for score, objectives, weights in zip(scores.tolist(), rewards.tolist(), gate.tolist(), strict=True)
        ]

    def gate(self, states: Tensor) -> Tensor:
        weights = [name for name in self.heads if name.startswith("gating.layers.") and name.endswith(".weight")]
        for depth in range(len(weights)):
            layer = f"gating.layers.{depth}"
            states = states @ self.heads[f"{layer}.weight"].T + self.heads[f"{layer}.bias"]
            if depth < len(weights) - 1:
                states = states.relu()
        return (states / self.temperature).softmax(dim=1) * self.heads["gating.logit_scale"]


def head_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published model's heads."""
    objectives, width = config["num_objectives"], config["gating_hidden_dim"]
    widths = [config["hidden_size"], *[width] * config["gating_n_hidden"], objectives]
    shapes = {
        "regression_layer.weight": (objectives, config["hidden_size"]),
        "reward_transform_matrix": (objectives, objectives),
        "gating.logit_scale": (1,),
    }
    for depth, (before, after) in enumerate(itertools.pairwise(widths)):
        shapes |= {f"gating.layers.{depth}.weight": (after, before), f"gating.layers.{depth}.bias": (after,)}
    return shapes


def check_names(folder: str | Path, backbone: PreTrainedModel, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises BadInput if the folder's files lack a tensor or have an additional one."""
    needed = {f"model.{name}" for name in backbone.state_dict()} | set(shapes)
    found = {name for file in weight_files(folder) for name in tensor_names(file)}
    for what, names in (("lacks", needed - found), ("has tensors that ArmoRM does not have", found - needed)):
        if names:
            raise BadInput(f"reward.model: {folder} {what}: {', '.join(sorted(names)[:5])}")


def weight_files(folder: str | Path) -> list[Path]:
    return sorted(Path(folder).glob("*.safetensors"))


def tensor_names(file: Path) -> list[str]:
    with safe_open(file, "pt") as tensors:
        return list(tensors.keys())


def read_heads(folder: str | Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    found = {}
    for file in weight_files(folder):
        with safe_open(file, "pt") as tensors:
            found |= {name: tensors.get_tensor(name) for name in tensors.keys() if name in shapes}  # noqa: SIM118
    for name, shape in shapes.items():
        if tuple(found[name].shape) != shape:
            raise BadInput(
                f"reward.model: {folder}: {name} has the shape {tuple(found[name].shape)}, but {shape} according to its config"
            )
    return found


def opening_ids(tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> list[int]:
    """The token ids of OPENING: 128009 128006 78191 128007 271 in the published tokenizer."""
    ids = tokenizer("".join(OPENING), add_special_tokens=False)["input_ids"]
    if len(ids) != len(OPENING) or tokenizer.unk_token_id in ids:
        raise BadInput(f"reward.model: the tokenizer in {folder} has no tokens {' '.join(map(repr, OPENING))}")
    return ids
