"""A program for the launcher's tests: starts a child of its own, says so, and sleeps; or fails as its job says."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.ending import SAVING
from infra.errors import BadInput, OutOfMemory, Unavailable
from tasks.program import run


def sleep(job: dict, out: Path, progress) -> dict:
    match job["kind"]:
        case "bad input":
            raise BadInput("rows: there are none")
        case "no GPU":
            raise Unavailable("no GPU is free")
        case "no memory":
            raise OutOfMemory("out of memory: lower how.sft.device_batch_size (8)")
        case "killed in a group":
            os.kill(os.getpid(), signal.SIGKILL)
        case "bug":
            raise ZeroDivisionError("a bug of ours")
        case "quick":
            return {"rows": 3}
        case "tell":
            return {"variables": dict(os.environ), "path": sys.path}
    if job["kind"] in ("save", "save slowly", "say so and save slowly"):
        says = job["kind"].startswith("say so")
        signal.signal(signal.SIGTERM, lambda *_: save(out, 0.5 if job["kind"] == "save" else 3, says))
    if job["kind"] == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if job["kind"] == "sleep in a group":
        (out / f"member-{os.getpid()}").touch()
        time.sleep(3600)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], stdin=subprocess.DEVNULL)
    (out / f"ready-{os.getpid()}").touch()
    draft = out / f"pids.{os.getpid()}"
    draft.write_text(f"{child.pid}")
    draft.rename(out / "pids")
    time.sleep(3600)
    return {}


def save(out: Path, seconds: float, says: bool) -> None:
    if says:
        (out / SAVING).touch()
    time.sleep(seconds)
    (out / f"saved-{os.getpid()}").touch()
    (out / "saved").touch()
    sys.exit(143)


if __name__ == "__main__":
    run(sleep)
