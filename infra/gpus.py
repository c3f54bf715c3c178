"""Whether this machine has the GPUs that its programs were promised; asks the driver, loads nothing heavy."""

import shutil
import subprocess

from infra.errors import Unavailable
from infra.settings import settings


def require_gpus() -> None:
    """Unavailable where FUSE_GPUS are not there: the work goes back, and another worker or a later time may have them."""
    if (wanted := settings().gpus) and (found := gpus()) < wanted:
        raise Unavailable(f"FUSE_GPUS: {wanted} wanted, this machine shows {found}")


def gpus() -> int:
    if (driver := shutil.which("nvidia-smi")) is None:
        return 0
    answer = subprocess.run([driver, "--list-gpus"], capture_output=True, text=True, timeout=60)
    return sum(line.startswith("GPU ") for line in answer.stdout.splitlines()) if answer.returncode == 0 else 0
