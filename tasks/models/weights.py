"""Checks a model's files before it is loaded: reads JSON files and the headers of safetensors, but no weights."""

import json
import struct
from pathlib import Path
from typing import Any

NO_HEAD = "as a sequence classifier its head would be untrained"
CLASSIFIER = "ForSequenceClassification"  # the end of every class of transformers' AutoModelForSequenceClassification
NEEDED = f"a sequence classifier needs a class whose name ends with {CLASSIFIER}"
TEXT_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
LARGEST_HEADER = 100_000_000  # the limit of the safetensors library


def find_damage(folder: Path) -> str | None:
    """The first problem in a model's configuration, its weights or the index of its weights; None if there is no problem."""
    try:
        if not isinstance(read_model_json(folder / "config.json"), dict):
            return f"{folder / 'config.json'} is not a JSON object"
        for file in sorted(folder.glob("*.safetensors")):
            check_tensors(file)
        if (index := folder / "model.safetensors.index.json").is_file():
            check_index(index)
    except ValueError as problem:
        return str(problem)
    return None


def find_classifier_problem(config: Any) -> str | None:
    """Why a configuration is not that of a sequence classifier; None if it names a class that transformers loads as one."""
    classes = config.get("architectures") if isinstance(config, dict) else None
    names = [name for name in classes if isinstance(name, str)] if isinstance(classes, list) else []
    if any(name.endswith(CLASSIFIER) for name in names):
        return None
    if not names:
        return f"its config.json names no model class in a list under `architectures`, but {NEEDED}"
    if writer := next((name for name in names if name.endswith(TEXT_WRITERS)), None):
        return f"its config.json names {writer}, which generates text; {NO_HEAD}"
    return f"its config.json names {', '.join(names)}, but {NEEDED}"


def read_model_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{file} is not JSON: {problem}") from problem


def check_tensors(file: Path) -> None:
    """Checks the header's length, the header, and that the tensors in it end exactly at the end of the file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else LARGEST_HEADER + 1
        if length > min(size - 8, LARGEST_HEADER):
            raise ValueError(f"{file} is not a complete safetensors file ({size:,} bytes; pickles are never loaded)")
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            end = 8 + length + max(ends, default=0)
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as problem:
            raise ValueError(f"{file} is not a safetensors file: its header cannot be read") from problem
    if end != size:
        raise ValueError(f"{file} is damaged: {end:,} bytes expected, {size:,} found")


def check_index(index: Path) -> None:
    """Checks that every shard in the index is a file beside it."""
    listed = read_model_json(index)
    shards = listed.get("weight_map") if isinstance(listed, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise ValueError(f"{index} has no weight_map from tensor names to file names")
    for name in sorted(set(shards.values())):
        if Path(name).name != name or not name.endswith(".safetensors") or not (index.parent / name).is_file():
            raise ValueError(f"{index} names {name!r}, which is not a safetensors file beside it")
