"""What README.md promises of an interrupted training, of the real command: by GNU timeout and by Ctrl-C in a terminal."""

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chain.small import ROOT, environment, programs_of, write_recipe

STEPS = 1200  # of an SFT that leaves no checkpoint before its last step
LONG = ("--set", f"sft.max_steps={STEPS}", "--set", "sft.epochs=9999", "--set", "how.sft.checkpoint_steps=0")
Interrupt = Callable[[list[str], dict, Callable[[subprocess.Popen], None]], None]


def interrupt_by_timeout(command: list[str], place: dict, wait: Callable[[subprocess.Popen], None]) -> None:
    """GNU timeout signals its child and then its group, the child among it. SIGALRM is how it hears that the time is over.
    On a busy machine the second signal comes some milliseconds late, here always."""
    process = subprocess.Popen(
        ["timeout", "--signal=INT", "1d", *command], **place, stdout=subprocess.DEVNULL, start_new_session=True
    )
    wait(process)
    os.kill(process.pid, signal.SIGALRM)
    time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 124


def interrupt_by_terminal(command: list[str], place: dict, wait: Callable[[subprocess.Popen], None]) -> None:
    """Ctrl-C in a shell's terminal: the kernel signals the foreground group, the shell and its child."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["sh", "-c", f"{shlex.join(command)}; exit $?"],
        **place,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    reader = threading.Thread(target=read_to_the_end, args=[ours])
    reader.start()
    wait(process)
    os.write(ours, b"\x03")
    assert process.wait() in (130, -signal.SIGINT)
    reader.join()
    os.close(ours)


def read_to_the_end(terminal: int) -> None:
    with contextlib.suppress(OSError):  # every process that wrote there has ended
        while os.read(terminal, 4096):
            pass


@pytest.mark.skipif(shutil.which("timeout") is None, reason="needs GNU timeout")
def test_a_training_that_is_interrupted_saves_and_goes_on_from_there(server, tmp_path):
    space, recipe = tmp_path / "space", write_recipe(tmp_path, sources=1)
    command = [sys.executable, "-m", "flows.cli.main", "run", str(recipe), *LONG]
    place = {"cwd": ROOT, "env": environment(space, **server)}
    begun, saved = [], [0]
    for interrupt in (interrupt_by_timeout, interrupt_by_terminal):
        before = trainings(space)
        interrupt(command, place, lambda process, before=before: begun.append(first_step(space, before, process)))
        saved.append(last_saved(space))
        assert not programs_of(space)
    assert begun[0] < saved[1] < begun[1] <= saved[2] < STEPS, (begun, saved)


def first_step(space: Path, before: set[Path], process: subprocess.Popen) -> int:
    """Waits until the SFT program of this run has made some steps; returns the first of them that it tells."""
    seen: list[int] = []
    while len(seen) < 2:
        assert process.poll() is None
        time.sleep(0.02)
        for folder in trainings(space) - before:
            done = json.loads((folder / "progress.json").read_text())["done"]
            seen += [done] * (done not in seen)
    return seen[0]


def trainings(space: Path) -> set[Path]:
    """The folders of SFT programs that have made a step."""
    folders = {file.parent for file in (space / "scratch").glob("*/program/progress.json")}
    return {folder for folder in folders if "records" in json.loads((folder / "job.json").read_text())}


def last_saved(space: Path) -> int:
    """The optimizer step of the newest checkpoint in the store; 0 without any."""
    return max((int(file.stem) for file in (space / "store/_checkpoints/sft").glob("*/*.json")), default=0)
