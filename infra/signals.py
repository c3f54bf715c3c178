"""What it means that a signal ended a program, in a person's words; and what the kernel says of it, where it can be read."""

import signal
from pathlib import Path

COUNTERS = Path("/proc/vmstat")  # of the whole machine, since its start; containers see it too
OF_A_GROUP = "Signal 9 (SIGKILL)"  # as torchrun says it of a worker


def killed_for_memory() -> int | None:
    """How many processes the kernel has ended so far because memory was short; None where it does not say."""
    try:
        lines = COUNTERS.read_text().splitlines()
    except OSError:  # there is no /proc, or it is hidden
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def describe(code: int, before: int | None) -> str:
    """How a program ended: by which signal, and whether memory was short since `before` was counted."""
    if code != -signal.SIGKILL:
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    now = killed_for_memory()
    if now is None or before is None:
        return "was killed by signal 9: probably out of memory"
    if now > before:
        return "was killed by signal 9: out of memory, as the kernel ended a process for that meanwhile"
    return "was killed by signal 9: the kernel ended nothing for want of memory, so somebody or a scheduler did"
