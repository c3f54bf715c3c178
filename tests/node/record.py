"""What a program on the node does with its GPUs: it holds the lock of each, fails if somebody else has one, and says so."""

import fcntl
import json
import os
import sys
import time
from pathlib import Path

NODE = Path(os.environ["NODE"])
LEDGER = Path(os.environ["FUSE_LEDGER"])
RANK, RANKS = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


class Record:
    """The file that says which GPUs this process has; its time is that of the last sign of life."""

    def __init__(self, job: dict):
        seen = [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
        self.gpus = seen[RANK::RANKS] if RANKS > 1 else seen
        self.file = NODE / "records" / f"{time.time():.6f}-{os.getpid()}.json"
        said = {name: job[name] for name in ("asked", "queued", "urgency", "what", "program", "seconds")}
        granted = time.time() if not seen else json.loads((LEDGER / f"gpu-GPU-{seen[0]}a").read_text())["since"]
        together = {"gpus": self.gpus, "together": len(seen), "pid": os.getpid(), "start": granted}
        self.locks = [self.lock(name) for name in self.gpus]
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(said | together | {"held": time.time()}))
        draft.rename(self.file)

    def lock(self, name: str) -> int:
        held = os.open(NODE / "gpus" / name, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"GPU {name} is in use: {self.file.name}"
            self.file.with_suffix(".violation").write_text(text)
            sys.exit(text)
        return held

    def wait_until(self, when: float) -> None:
        while time.time() < when:
            time.sleep(min(0.1, max(when - time.time(), 0)))
            os.utime(self.file)
