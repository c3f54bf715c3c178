"""Lists the GPUs that this process may use, from the driver and CUDA_VISIBLE_DEVICES. Loads no heavy library."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from itertools import takewhile

from infra.errors import Unavailable
from infra.settings import settings, visible_gpus

LISTED = re.compile(r"^GPU (?P<index>\d+):.*\(UUID: (?P<gpu>[^)]+)\)|^\s+MIG .*\(UUID: (?P<mig>[^)]+)\)")
NAMED = re.compile(r"\d+|GPU-[\w-]+|MIG-[\w/-]+")


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG instance of one."""

    name: str  # for CUDA_VISIBLE_DEVICES: the index if there is one, since vLLM cannot read the UUID of a GPU
    uuid: str  # the same in every process and container


def find_gpus() -> list[Gpu]:
    """The GPUs that a scheduler gave to this process (CUDA_VISIBLE_DEVICES), otherwise all that the driver lists."""
    given, listed = visible_gpus(), list_gpus()
    if given is None:
        return listed
    chosen = takewhile(NAMED.fullmatch, given)  # CUDA stops reading at the first invalid name, such as -1
    return [find_gpu(name, listed) for name in dict.fromkeys(chosen)]


def find_gpu(name: str, listed: list[Gpu]) -> Gpu:
    """The GPU with this index, or whose UUID begins with this name."""
    for gpu in listed:
        if name == gpu.name or (not name.isdigit() and gpu.uuid.startswith(name)):
            return gpu
    return Gpu(name, name)


def list_gpus() -> list[Gpu]:
    """The driver's GPUs, in bus order; a GPU that is divided into MIG instances is replaced by its instances."""
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


def require_gpus(needed: int = 0) -> None:
    """Raises Unavailable if there are fewer GPUs than FUSE_GPUS, or some but fewer than a program needs: the work is
    returned to its pool, where another worker or a later attempt may have enough."""
    found = len(find_gpus())
    if found < (wanted := settings().gpus):
        raise Unavailable(f"FUSE_GPUS is {wanted}, but this machine has {found} GPUs; the work is returned to its pool")
    if 0 < found < needed:
        raise Unavailable(f"one program needs {needed} GPUs, this machine has {found}")


@cache
def name_gpus() -> list[str]:
    """The names of this machine's GPUs, for example `NVIDIA H100 80GB HBM3`."""
    if (driver := shutil.which("nvidia-smi")) is None:
        return []
    words = [driver, "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return [] if answer.returncode else answer.stdout.split("\n")[:-1]
