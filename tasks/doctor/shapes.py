"""The shape of a model, from its config.json: what decides how much memory it needs. Loads no library and no weights."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PUBLISHED_BYTES = 2  # per parameter: bf16, where the size of the files is not known
KNOWN = Path(__file__).with_name("shapes.toml")


@dataclass(frozen=True)
class Shape:
    parameters: float
    weights: float  # bytes of the weights' files
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    latent: int = 0  # elements of keys and values per token and layer where they are compressed (MLA); 0: they are not

    def kv_bytes(self, element: float = 2) -> float:
        """Bytes of keys and values per token."""
        return self.layers * (self.latent or 2 * self.kv_heads * self.head_dim) * element


def read_shape(
    config: Mapping[str, Any], weights: float | None = None, parameters: float | None = None
) -> Shape | None:
    """The shape in a config; None if it lacks a field. `weights`: bytes of its files. Without `parameters` they follow from
    the files' size and the config's dtype, or are counted."""
    config = config.get("text_config") or config
    try:
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        plain = {
            "layers": config["num_hidden_layers"],
            "hidden": hidden,
            "intermediate": config["intermediate_size"],
            "heads": heads,
            "kv_heads": config.get("num_key_value_heads") or heads,
            "head_dim": config.get("head_dim") or hidden // heads,
            "vocabulary": config["vocab_size"],
            "context": config["max_position_embeddings"],
            "latent": (config.get("kv_lora_rank") or 0) and config["kv_lora_rank"] + config["qk_rope_head_dim"],
        }
        size = 4 if (config.get("dtype") or config.get("torch_dtype")) == "float32" else PUBLISHED_BYTES
        number = parameters or (weights / size if weights else count_parameters(config))
    except (KeyError, TypeError):
        return None
    return Shape(parameters=number, weights=weights or number * size, **plain)


def count_parameters(config: Mapping[str, Any]) -> float:
    """Parameters of a dense decoder with gated feed-forward layers, without its norms and biases; raises KeyError for a
    mixture of experts."""
    if config.get("n_routed_experts") or config.get("num_local_experts") or config.get("num_experts"):
        raise KeyError("experts")
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    width = config.get("head_dim") or hidden // heads
    attention = 2 * hidden * width * (heads + (config.get("num_key_value_heads") or heads))
    layer = attention + 3 * hidden * config["intermediate_size"]
    ends = 1 if config.get("tie_word_embeddings") or config.get("scores") else 2
    return float(config["num_hidden_layers"] * layer + ends * config["vocab_size"] * hidden)


@cache
def known_shapes() -> dict[str, Shape]:
    """The models of the shipped recipes, by their id on the hub."""
    models = tomllib.loads(KNOWN.read_text())["models"]
    shapes = {id: read_shape(each["config"], parameters=each["billions"] * 1e9) for id, each in models.items()}
    return {id: shape for id, shape in shapes.items() if shape}
