"""Identifies processes by boot, id and start time, since another process or machine may use the same id."""

import os
from pathlib import Path


def boot_identity() -> str:
    """Identifies the host's boot and the process namespace; empty if there is no /proc."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except FileNotFoundError:
        return ""


def process_start(pid: int) -> str | None:
    """The start time of a process in clock ticks since boot; None if it does not exist or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
