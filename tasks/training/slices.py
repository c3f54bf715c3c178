"""Tensors in files, in slices: every process writes its part of each tensor, and any number of processes reads any part.

The files are safetensors. Their metadata `slices` maps a tensor's name to the whole shape and the slice's first element; a
tensor that it does not name is whole. Reading and writing hold one tensor in memory at a time and map no file.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

KINDS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True)
class Slice:
    """`size` elements of a flattened tensor from `start` on; `read` returns them."""

    name: str
    shape: tuple[int, ...]  # of the whole tensor
    start: int
    size: int
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def is_whole(self) -> bool:
        return self.size == math.prod(self.shape)


def share_of(count: int, process: int, processes: int) -> tuple[int, int]:
    """(start, size) of a process's share of `count` elements; the last shares may be smaller or empty."""
    size = -(-count // processes)
    start = min(process * size, count)
    return start, min(size, count - start)


def slice_tensor(name: str, value: Tensor, process: int = 0, processes: int = 1) -> Slice:
    """A process's share of a tensor that every process holds."""
    start, size = share_of(value.numel(), process, processes)
    read = lambda: value.detach().flatten()[start : start + size]
    return Slice(name, tuple(value.shape), start, size, value.dtype, read)


def write_slices(file: Path, slices: Iterable[Slice]) -> None:
    # The widest elements first, so that each tensor in the file is aligned.
    chosen = sorted((one for one in slices if one.size), key=lambda one: -one.dtype.itemsize)
    header, end = {}, 0
    for one in chosen:
        begin, end = end, end + one.size * one.dtype.itemsize
        shape = one.shape if one.is_whole else (one.size,)
        header[one.name] = {"dtype": NAMES[one.dtype], "shape": shape, "data_offsets": [begin, end]}
    parts = {one.name: [one.shape, one.start] for one in chosen if not one.is_whole}
    text = json.dumps({"__metadata__": {"slices": json.dumps(parts)}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for one in chosen:
            write_slice(stream, one)


def write_slice(stream: BinaryIO, one: Slice) -> None:
    value = one.read()
    if value.numel() != one.size or value.dtype != one.dtype:
        raise ValueError(f"{one.name}: {value.numel()} {value.dtype}, not {one.size} {one.dtype}")
    stream.write(bytes_of(value.cpu().contiguous()))


def bytes_of(value: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    return value.flatten().view(torch.uint8).numpy().data


@dataclass(frozen=True)
class Part:
    """A slice in a file, and the place of its first byte there."""

    file: Path
    place: int
    dtype: torch.dtype
    shape: tuple[int, ...]  # of the whole tensor
    start: int
    size: int


def slice_file(folder: Path, kind: str, args) -> Path:
    """The file of this process's slices. A single process without DeepSpeed holds whole tensors."""
    alone = args.world_size == 1 and not args.deepspeed
    return folder / (f"{kind}.safetensors" if alone else f"{kind}-{args.process_index}.safetensors")


class SavedTensors:
    """The tensors of several files, by name."""

    def __init__(self, files: Iterable[Path]):
        self.parts: dict[str, list[Part]] = {}
        for file in files:
            for name, part in read_parts(file).items():
                self.parts.setdefault(name, []).append(part)

    def __contains__(self, name: str) -> bool:
        return name in self.parts

    def shape(self, name: str) -> tuple[int, ...]:
        return self.parts[name][0].shape

    def read(self, name: str, start: int = 0, size: int | None = None) -> Tensor:
        """`size` elements (None: all) of the flattened tensor from `start` on, from the files that hold them."""
        parts = self.parts.get(name)
        if not parts:
            raise ValueError(f"{name} is in no file")
        size = math.prod(parts[0].shape) if size is None else size
        found, done = torch.empty(size, dtype=parts[0].dtype), 0
        for part in parts:
            first, last = max(start, part.start), min(start + size, part.start + part.size)
            if first < last:
                read_into(found[first - start : last - start], part, first - part.start)
                done += last - first
        if done != size:
            raise ValueError(f"{name}: {done} of {size} elements from {start} on are in the files")
        return found

    def whole(self, name: str) -> Tensor:
        return self.read(name).view(self.shape(name))


def open_saved(folder: Path, kind: str) -> SavedTensors:
    """The tensors that `slice_file` names, whichever processes wrote them."""
    whole = folder / f"{kind}.safetensors"
    return SavedTensors([whole] if whole.exists() else sorted(folder.glob(f"{kind}-*.safetensors")))


def read_parts(file: Path) -> dict[str, Part]:
    """The header of a safetensors file."""
    total = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > total - 8:
            raise ValueError(f"{file.name}: its header would be {length} bytes long, the file has {total}")
        header = json.loads(stream.read(length))
    sliced = json.loads((header.pop("__metadata__", None) or {}).get("slices", "{}"))
    found = {}
    for name, entry in header.items():
        dtype, size, (begin, end) = KINDS[entry["dtype"]], math.prod(entry["shape"]), entry["data_offsets"]
        if begin < 0 or end - begin != size * dtype.itemsize or 8 + length + end > total:
            raise ValueError(f"{file.name}: {name}: {size} elements do not fit bytes {begin} to {end}")
        shape, start = sliced.get(name, (entry["shape"], 0))
        found[name] = Part(file, 8 + length + begin, dtype, tuple(shape), start, size)
    return found


def read_into(target: Tensor, part: Part, skipped: int) -> None:
    """Fills a contiguous tensor with the part's elements after the first `skipped` ones."""
    with part.file.open("rb") as stream:
        stream.seek(part.place + skipped * part.dtype.itemsize)
        if stream.readinto(bytes_of(target)) != target.numel() * target.dtype.itemsize:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(f"{part.file.name}: ends too early")
