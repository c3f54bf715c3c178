"""The size of a model, as far as speed and memory depend on it: from its settings, its config, or its name."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flows.config.loading import read_toml

ANCHORS = Path(__file__).with_name("anchors.toml")
BILLIONS = re.compile(r"(?<![a-z0-9.])(\d+(?:[._]\d+)?)(b|m)(?![a-z0-9])")
VOCABULARY = 33  # of the demo's tokenizer
ASSUMED = 8e9  # parameters of a model whose size is not known


@cache
def anchors() -> dict:
    return read_toml(ANCHORS)


@dataclass(frozen=True)
class ModelSize:
    """`active`: the parameters that one token uses; fewer than all in a mixture of experts."""

    parameters: float
    active: float
    layers: float
    hidden: float
    known: bool = True

    @property
    def work(self) -> float:
        """Floating-point operations to read one token. Elementwise operations cost as much as the matrices of a model with
        `ELEMENTWISE` hidden units: they decide the speed of tiny models, and matter little for others."""
        return 2 * self.active * (1 + ELEMENTWISE / self.hidden)


ELEMENTWISE = (
    220  # measured on cores: a doubling of 96 hidden units costs 2.6 times as much per token, of 192 2.9 times
)


def size_by_parameters(parameters: float, active: float | None = None, known: bool = True) -> ModelSize:
    """Layers and hidden units as usual for so many parameters: Llama 3 8B has 32 and 4096."""
    hidden = 4096 * (parameters / 8e9) ** (1 / 3)
    return ModelSize(parameters, active or parameters, 32 * (parameters / 8e9) ** (1 / 3), hidden, known)


def size_of_tiny(what: dict) -> ModelSize:
    parameters = what["layers"] * 10 * what["hidden"] ** 2 + VOCABULARY * what["hidden"]
    return ModelSize(parameters, parameters, what["layers"], what["hidden"])


def size_by_name(name: str) -> ModelSize:
    """`google/gemma-2-27b-it` → 27 billions; a name without a size is looked up, and else assumed."""
    lower = name.lower()
    known = [key for key in anchors()["sizes"] if key in lower]
    if known:
        whole, active = anchors()["sizes"][max(known, key=len)]
        return size_by_parameters(whole * 1e9, active * 1e9)
    if found := BILLIONS.findall(lower):
        number, unit = found[-1]
        return size_by_parameters(float(number.replace("_", ".")) * (1e9 if unit == "b" else 1e6))
    return size_by_parameters(ASSUMED, known=False)


def size_of_folder(folder: Path) -> ModelSize:
    """From the config and the weights' bytes."""
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    bytes_each = 4 if (config.get("torch_dtype") or config.get("dtype")) == "float32" else 2
    usual = size_by_parameters(weights / bytes_each)
    return ModelSize(
        usual.parameters,
        usual.active,
        config.get("num_hidden_layers", usual.layers),
        config.get("hidden_size", usual.hidden),
    )


def size_of_model(what: dict, folder: Path | None) -> ModelSize | None:
    """`what`: the settings of a step that obtains a model; `folder`: where its files are, if they are on this machine."""
    match what.get("kind"):
        case "tiny" | "tiny-reward":
            return size_of_tiny(what)
        case "hub" | "served":
            return size_by_name(what["id"])
        case "folder":
            return size_of_folder(folder) if folder else size_by_parameters(ASSUMED, known=False)
    return None
