"""Which process somebody was: a number alone may have another owner by now, or one on another machine."""

import os
from pathlib import Path


def boot_identity() -> str:
    """Which boot of which host, and which process namespace on it; empty where there is no /proc."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except FileNotFoundError:
        return ""


def process_start(pid: int) -> str | None:
    """When a running process began, in clock ticks since boot; None for none, or one that only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
