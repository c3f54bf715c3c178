"""Explains to a person how a signal ended a program, with the kernel's count of out-of-memory kills if it is readable."""

import signal
from pathlib import Path

COUNTERS = Path("/proc/vmstat")  # counters of the whole machine since its boot; containers can read them too
OF_A_GROUP = "Signal 9 (SIGKILL)"  # torchrun's text about a killed worker


def killed_for_memory() -> int | None:
    """The number of processes that the kernel has killed for lack of memory; None if it is unknown."""
    try:
        lines = COUNTERS.read_text().splitlines()
    except OSError:  # there is no /proc, or it is hidden
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def describe(code: int, before: int | None) -> str:
    """Describes how a program ended: its exit code or signal, and if the kernel's count of memory kills has risen since
    `before`."""
    if code != -signal.SIGKILL:
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    now = killed_for_memory()
    if now is None or before is None:
        return "was killed by signal 9: probably out of memory"
    if now > before:
        return "was killed by signal 9: out of memory, since the kernel killed a process for lack of memory meanwhile"
    return "was killed by signal 9: the kernel killed no process for lack of memory, so a person or a scheduler did"
