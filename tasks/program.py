"""The frame of every program: it reads a job file, writes a folder, reports progress, and ends with its starter.

`python -m tasks.<room>.<program> JOB OUT [tethered]`. JOB is JSON. Beside its results a program writes into OUT:
`progress.json` while it runs, `summary.json` (numbers for the manifest) at its end, and `failure.json` if its input or
settings are wrong (exit code 2) or a resource is missing for now (exit code 75, the EX_TEMPFAIL of sysexits.h).
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from infra.errors import BadInput, OutOfMemory, Unavailable


class Progress:
    """Writes the program's progress file, at most every 0.3 s and always as a complete file."""

    def __init__(self, folder: Path):
        self.file = folder / "progress.json"
        self.last = 0.0

    def __call__(self, done: int, total: int, unit: str = "rows") -> None:
        if done < total and time.monotonic() - self.last < 0.3:
            return
        self.last = time.monotonic()
        write_json(self.file, {"done": done, "total": total, "unit": unit})


Work = Callable[[dict, Path, Progress], dict | None]


def run_program(work: Work) -> None:
    """The entry point of every program. `work(job, out, progress)` returns the numbers for the manifest; in a group of
    processes only the first process returns them."""
    tie_to_parent()
    job, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    try:
        summary = work(job, out, Progress(out))
    except (BadInput, OutOfMemory, Unavailable) as problem:
        kind = next(one for one in (BadInput, OutOfMemory, Unavailable) if isinstance(problem, one))
        write_json(out / "failure.json", {"kind": kind.__name__, "message": str(problem)})
        sys.exit(75 if kind is Unavailable else 2)
    if summary is not None:
        write_json(out / "summary.json", summary)


def tie_to_parent() -> None:
    """Ends this program when its starter ends: the starter holds the other end of our standard input, a pipe.

    PR_SET_PDEATHSIG would fire when the starting *thread* ends, and exists only on Linux.
    """
    if sys.argv[3:] == ["tethered"]:
        end_with_starter()


def end_with_starter() -> None:
    """Kills our process group once the other end of our standard input is closed."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def write_json(file: Path, value: dict) -> None:
    draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
    draft.write_text(json.dumps(value, indent=1, sort_keys=True))
    os.replace(draft, file)
