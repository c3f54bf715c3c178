"""What every program shares: it reads a job file, writes a folder, tells how far it is, and dies with whoever started it.

`python -m tasks.<room>.<program> JOB OUT [tethered]`. JOB is JSON. Beside its results a program leaves in OUT
`progress.json` while it runs, `summary.json` (numbers for the manifest) at its end, and `failure.json` when its input or its
settings are at fault (code 2) or something is missing that may come back (code 75, the EX_TEMPFAIL of sysexits.h).
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
    """How far the program is, for the person who waits: written at most every 0.3 s, always complete."""

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
    """The entry point of every program. `work(job, out, progress)` returns the numbers for the manifest; in a group of processes
    only the first one returns them."""
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
    """The starter keeps the other end of our standard input open for as long as it lives: its end of file is our end.

    A pipe, not PR_SET_PDEATHSIG: that one fires when the starting *thread* ends, and knows only Linux.
    """
    if sys.argv[3:] == ["tethered"]:
        end_with_starter()


def end_with_starter() -> None:
    """Kills our process group once nobody holds the other end of our standard input."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def write_json(file: Path, value: dict) -> None:
    draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
    draft.write_text(json.dumps(value, indent=1, sort_keys=True))
    os.replace(draft, file)
