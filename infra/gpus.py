"""The GPUs that this process may use, as the driver and CUDA_VISIBLE_DEVICES name them. Loads nothing heavy."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from itertools import takewhile

from infra.errors import Unavailable
from infra.settings import settings, visible_gpus

LISTED = re.compile(r"^GPU (?P<index>\d+):.*\(UUID: (?P<gpu>[^)]+)\)|^\s+MIG .*\(UUID: (?P<mig>[^)]+)\)")
NAMED = re.compile(r"\d+|GPU-[\w-]+|MIG-[\w/-]+")


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG instance of one."""

    name: str  # for CUDA_VISIBLE_DEVICES: an index where there is one, as vLLM cannot read the UUID of a GPU
    uuid: str  # the same in every process and container


def find_gpus() -> list[Gpu]:
    """What a scheduler has given to this process (CUDA_VISIBLE_DEVICES), else all that the driver lists."""
    given, listed = visible_gpus(), list_gpus()
    if given is None:
        return listed
    chosen = takewhile(NAMED.fullmatch, given)  # CUDA reads no further than to a name that is none, such as -1
    return [find_gpu(name, listed) for name in dict.fromkeys(chosen)]


def find_gpu(name: str, listed: list[Gpu]) -> Gpu:
    """By its index, its UUID or the beginning of its UUID."""
    for gpu in listed:
        if name == gpu.name or (not name.isdigit() and gpu.uuid.startswith(name)):
            return gpu
    return Gpu(name, name)


def list_gpus() -> list[Gpu]:
    """Those of the driver, in the order of their places on the bus; a GPU that is cut into MIG instances is its instances."""
    if (driver := shutil.which("nvidia-smi")) is None:
        return []
    answer = subprocess.run([driver, "--list-gpus"], capture_output=True, text=True, timeout=60)
    if answer.returncode:
        return []
    found: list[Gpu] = []
    whole = None
    for line in filter(None, map(LISTED.match, answer.stdout.splitlines())):
        if line["mig"]:
            found = [gpu for gpu in found if gpu != whole]
            found.append(Gpu(line["mig"], line["mig"]))
        else:
            whole = Gpu(line["index"], line["gpu"])
            found.append(whole)
    return found


def require_gpus(asked: int = 0) -> None:
    """Unavailable where FUSE_GPUS are not there, or some and fewer than a program asks for: the work goes back, and another
    worker or a later time may have them."""
    found = len(find_gpus())
    if found < (wanted := settings().gpus):
        raise Unavailable(f"FUSE_GPUS is {wanted}, but this machine has {found} GPUs; the work goes back to its pool")
    if 0 < found < asked:
        raise Unavailable(f"one program asks for {asked} GPUs, this machine shows {found}")
