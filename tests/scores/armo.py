"""An ArmoRM of two small layers, random, in the published tensor layout and with the published config; and what it should
say, worked out one text at a time in plain loops over transformers' own Llama."""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaModel

from tests import tiny

HIDDEN, WIDE, OBJECTIVES = 32, 24, 19
TEMPLATE = (
    "{% for message in messages %}{{ (bos_token if loop.first else '') + '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def tokenizer():
    made = tiny.tokenizer(template=TEMPLATE, eos="<|eot_id|>")
    made.add_special_tokens(
        {"additional_special_tokens": ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]},
        replace_extra_special_tokens=False,
    )
    made.add_tokens(["assistant", "\n\n"])
    return made


def config() -> dict:
    """What the published one says beside a Llama's own fields, in small."""
    plain = LlamaConfig(
        vocab_size=len(tokenizer()),
        hidden_size=HIDDEN,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
    ).to_dict()
    return plain | {
        "architectures": ["LlamaForRewardModelWithGating"],
        "auto_map": {"AutoModelForSequenceClassification": "modeling_custom.LlamaForRewardModelWithGating"},
        "id2label": {"0": "LABEL_0"},
        "num_objectives": OBJECTIVES,
        "gating_temperature": 10,
        "gating_hidden_dim": WIDE,
        "gating_n_hidden": 3,
    }


def save(folder: Path, dtype: torch.dtype = torch.float32, shards: int = 1) -> Path:
    """The names and shapes are those in the headers of RLHFlow/ArmoRM-Llama3-8B-v0.1's files."""
    folder.mkdir()
    torch.manual_seed(5)
    backbone = LlamaModel(LlamaConfig(**{**config(), "initializer_range": 0.2}))
    tensors = {f"model.{name}": value for name, value in backbone.state_dict().items()}
    tensors["regression_layer.weight"] = torch.randn(OBJECTIVES, HIDDEN) * 0.1
    matrix = torch.eye(OBJECTIVES)
    matrix[4] -= torch.rand(OBJECTIVES) * 0.5  # the verbosity objective, taken out of every other
    tensors["reward_transform_matrix"] = matrix
    for depth, (before, after) in enumerate([(HIDDEN, WIDE), (WIDE, WIDE), (WIDE, WIDE), (WIDE, OBJECTIVES)]):
        tensors[f"gating.layers.{depth}.weight"] = torch.randn(after, before) * 0.5  # no gate is nearly one objective
        tensors[f"gating.layers.{depth}.bias"] = torch.randn(after)
    tensors["gating.logit_scale"] = torch.tensor([1.25])
    write(folder, {name: value.to(dtype).contiguous() for name, value in tensors.items()}, shards)
    (folder / "config.json").write_text(json.dumps({**config(), "dtype": str(dtype).removeprefix("torch.")}))
    tokenizer().save_pretrained(folder)
    return folder


def write(folder: Path, tensors: dict[str, torch.Tensor], shards: int = 1) -> None:
    names = sorted(tensors)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    weight_map = {
        name: f"model-{place % shards + 1:05d}-of-{shards:05d}.safetensors" for place, name in enumerate(names)
    }
    for file in set(weight_map.values()):
        save_file({name: tensors[name] for name in names if weight_map[name] == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def expected(folder: Path, messages: list[dict], text: str) -> tuple[float, list[float], list[float]]:
    """Score, objectives and gate of one conversation, by the paper: no batch, no padding, number by number."""
    weights = load_file(folder / "model.safetensors")
    backbone = LlamaModel(LlamaConfig(**config())).eval()
    backbone.load_state_dict(
        {name.removeprefix("model."): value for name, value in weights.items() if name.startswith("model.")}
    )
    turns = [*messages, {"role": "assistant", "content": text}]
    ids = tokenizer().apply_chat_template(turns, tokenize=True, return_dict=False)
    vocabulary = tokenizer().get_vocab()
    header = [vocabulary[t] for t in ("<|eot_id|>", "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n")]
    opened = max(place for place in range(len(ids)) if ids[place : place + 5] == header)
    with torch.no_grad():
        states = backbone(torch.tensor([ids])).last_hidden_state[0]
    rewards = [dot(row, states[-1].tolist()) for row in weights["regression_layer.weight"].tolist()]
    hidden = states[opened].tolist()
    for depth in range(4):
        rows, bias = (weights[f"gating.layers.{depth}.{kind}"].tolist() for kind in ("weight", "bias"))
        hidden = [dot(row, hidden) + offset for row, offset in zip(rows, bias, strict=True)]
        hidden = [max(0.0, value) for value in hidden] if depth < 3 else hidden
    powers = [math.exp(value / 10) for value in hidden]
    gate = [1.25 * power / sum(powers) for power in powers]
    columns = weights["reward_transform_matrix"].T.tolist()
    return sum(weight * dot(rewards, column) for weight, column in zip(gate, columns, strict=True)), rewards, gate


def dot(one: list[float], other: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))
