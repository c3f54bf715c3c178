"""A machine that has eight GPUs, as far as our programs can tell: a driver that lists them, and a lock for each.

Programs of a recipe are replaced by stand-ins (`tests/node/stand_in.py`), which hold their GPUs for as long as the real ones
would in proportion; launcher, ledger, stages, store and processes are the real ones.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.launch import HERE, Environment, Launcher
from infra.ledger import Request
from tasks.models.stage import Hub
from tasks.stage import Step

GPUS = 8


@dataclass(frozen=True)
class Node:
    folder: Path

    def make(self) -> dict[str, str]:
        """What is set in the environment of everything that runs there."""
        for name in ("bin", "gpus", "records", "vllm/bin", "hub"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        lines = "\n".join(f"GPU {number}: NVIDIA H100 80GB HBM3 (UUID: GPU-{number}a)" for number in range(GPUS))
        write_program(self.folder / "bin" / "nvidia-smi", f"cat <<END\n{lines}\nEND")
        write_program(self.folder / "vllm/bin/python", f'exec {sys.executable} "$@"')
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FUSE_", "CUDA_"))}
        return {
            **kept,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "FUSE_WORKSPACE": str(self.folder / "workspace"),
            "FUSE_LEDGER": str(self.folder / "ledger"),
            "FUSE_VLLM": str(self.folder / "vllm"),
            "HF_HUB_CACHE": str(self.folder / "hub"),
            "NODE": str(self.folder),
        }

    def bring_models(self, steps: list[Step]) -> None:
        """Into the hub's cache, where programs look for them."""
        for what in (step.what for step in steps if isinstance(step.what, Hub)):
            folder = self.folder / "hub" / f"models--{what.id.replace('/', '--')}" / "snapshots" / what.revision
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text("{}")

    def records(self) -> list[dict]:
        """What the stand-ins left: which GPUs they saw, from when to when, and for whom."""
        files = sorted((self.folder / "records").glob("*.json"))
        return [json.loads(file.read_text()) | {"end": file.stat().st_mtime} for file in files]

    def violations(self) -> list[str]:
        return [file.read_text() for file in (self.folder / "records").glob("*.violation")]


def write_program(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


class StandIns(Launcher):
    """Every program that needs a GPU is a stand-in, which lasts as long as `seconds` says."""

    def __init__(self, seconds: Callable[[Request], float], stand_in: str = "tests.node.stand_in"):
        super().__init__()
        self.seconds, self.stand_in = seconds, stand_in

    def run(
        self,
        module: str,
        job: dict,
        out: Path,
        watch: Callable[[], None] = lambda: None,
        group: int = 0,
        environment: Environment = HERE,
        request: Request = Request(),  # noqa: B008
        on_wait: Callable[[str], None] = lambda text: None,
    ) -> dict:
        if request.gpus:
            now = time.time()
            asked = {"asked": request.since or now, "queued": now, "urgency": request.urgency, "what": request.what}
            job = {**job, **asked, "program": module, "seconds": self.seconds(request)}
        module = self.stand_in if request.gpus else module
        return super().run(module, job, out, watch, group, environment, request, on_wait)
