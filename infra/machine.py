"""What a machine has: GPUs and their memory, host memory, disk. Found here, or described by the user."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.errors import BadInput
from infra.gpus import find_gpus

GB = 1e9
UNITS = {"GB": GB, "TB": 1e12, "GIB": 2.0**30, "TIB": 2.0**40}
AMOUNT = r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>[GT]i?B)"
PARTS = {
    "gpu": re.compile(rf"(?P<count>\d+)\s*[x×]\s*{AMOUNT}", re.I),
    "memory": re.compile(rf"{AMOUNT}\s*(?:RAM|memory)", re.I),
    "disk": re.compile(rf"{AMOUNT}\s*disk", re.I),
}
CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Machine:
    """Amounts in bytes; None: not known."""

    gpus: int | None = None
    gpu_memory: float | None = None  # of one GPU, the smallest
    memory: float | None = None
    disk: float | None = None  # free
    described: bool = False  # by the user, so it stands for the pools' machines as well


def parse_machine(text: str) -> Machine:
    """Reads a description such as '8x80GB, 1TB RAM, 4TB disk'. Parts that are left out are not known."""
    found: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        matches = ((name, pattern.fullmatch(part)) for name, pattern in PARTS.items())
        name, match = next(((name, match) for name, match in matches if match), ("", None))
        if match is None or name in found:
            raise BadInput(f"--machine: {part!r} is not understood; write for example '8x80GB, 1TB RAM, 4TB disk'")
        found[name] = float(match["amount"]) * UNITS[match["unit"].upper()]
        if name == "gpu":
            found["gpus"] = int(match["count"])
    gpus = int(found["gpus"]) if "gpus" in found else None
    return Machine(gpus, found.get("gpu"), found.get("memory"), found.get("disk"), described=True)


def find_machine(folder: Path) -> Machine:
    """This machine; the disk is the one that holds the folder."""
    gpus = find_gpus()
    memory = float(psutil.virtual_memory().total)
    if CGROUP.is_file() and (limit := CGROUP.read_text().strip()).isdigit():
        memory = min(memory, float(limit))
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return Machine(len(gpus), smallest_gpu() if gpus else None, memory, float(shutil.disk_usage(there).free))


def smallest_gpu() -> float | None:
    """The memory of the smallest GPU that the driver reports; None if it reports none."""
    driver = shutil.which("nvidia-smi")
    assert driver is not None  # GPUs were found with it
    asked = [driver, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    answer = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    sizes = [float(line) * 2**20 for line in answer.stdout.splitlines() if line.strip().isdigit()]
    return min(sizes, default=None)
