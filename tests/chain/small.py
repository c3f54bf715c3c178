"""A recipe of the demo's kind, but so small that the whole chain takes a minute; and how the tests run `fuse`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.patience import run_while_it_progresses, wait_until

ROOT = Path(__file__).parents[2]
ALL = "{ copy = 1, flip = 1, sort = 1, next = 1, back = 1, roll = 1 }"
SOURCE = """
[[sources]]
name = "{name}"
model = {{ kind = "tiny", hidden = 16, layers = 1, steps = 2, seed = {seed}, skills = {all} }}
"""
RECIPE = """
name = "small"
seed = 3
prompts = {{ kind = "skills", count = 60 }}
target = {{ kind = "tiny", hidden = 16, layers = 1, steps = 2, skills = {all} }}
reward.model = {{ kind = "tiny-reward", hidden = 16, layers = 2, steps = 2 }}
split = {{ kind = "shares", sft = 0.3, preference = 0.4, held_out = 0.3 }}
sampling = {{ n = 3, max_new_tokens = 8 }}
records = {{ kind = "best", cut_chosen = "learned" }} # two steps teach nobody to end
pairs = {{ kind = "wrpo", cut_chosen = "learned" }}
sft = {{ learning_rate = 1e-4, batch_size = 8, max_length = 64 }}
wrpo = {{ objective = "wrpo", beta = 0.1, learning_rate = 1e-5, batch_size = 8, max_length = 64 }}
evaluation.judge.model = {{ kind = "tiny-reward", hidden = 16, layers = 2, steps = 2 }}
how.sampling = {{ batch_size = 15, batches_per_part = 1 }}
how.scoring = {{ batch_size = 15, batches_per_part = 1 }}
{sources}
"""


def write_recipe(folder: Path, sources: int = 2) -> Path:
    made = "".join(SOURCE.format(name=f"source-{number}", seed=number, all=ALL) for number in range(1, sources + 1))
    file = folder / f"small-{sources}.toml"
    file.write_text(RECIPE.format(all=ALL, sources=made))
    return file


def environment(workspace: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FUSE_", "PREFECT_", "AWS_"))}
    return {**kept, "FUSE_WORKSPACE": str(workspace), **more}


def fuse(workspace: Path, *words: str, **more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "flows.cli.main", *words]
    return run_while_it_progresses(command, workspace, cwd=ROOT, env=environment(workspace, **more))


def start(workspace: Path, *words: str, **more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", *words],
        cwd=ROOT,
        env=environment(workspace, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def programs_of(workspace: Path) -> list[int]:
    """The programs that run for this workspace, known by the job file on their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(workspace) in command and "job.json" in command:
            found.append(int(folder.name))
    return found


def kill(process: subprocess.Popen, workspace: Path) -> None:
    """SIGKILL of the flow alone: its programs must end by themselves, and do before this returns."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not programs_of(workspace))


def states(plan: str) -> dict[str, str]:
    """label -> state, from what `fuse plan` printed."""
    found = {}
    for line in plan.splitlines():
        for state in ("found", "to do", "extends", "not needed"):
            if line.startswith(f"{state} "):
                found[line.removeprefix(state).strip().split("  ")[0]] = state
    return found


def manifests(store: Path) -> dict[str, str]:
    return {file.parent.relative_to(store).as_posix(): file.read_text() for file in store.glob("*/*/MANIFEST.json")}
