"""A sampling run that is killed with SIGKILL again and again, the whole of it or an engine alone, until enough kills are done."""

import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

from tasks.stage import Step
from tests.chain.small import programs_of
from tests.workplace import Workplace

fork = multiprocessing.get_context("fork")  # everything is imported once


def unbroken(place: Workplace, step: Step) -> float:
    """Makes the step undisturbed, its inputs before; returns the seconds that it took."""
    for inputs in step.inputs.values():
        place.made(inputs[0])
    began = time.monotonic()
    place.made(step)
    return time.monotonic() - began


def broken(place: Workplace, step: Step, kills: int, usual: float, dice: random.Random) -> dict[str, int]:
    """Makes the step through so many kills at moments spread over its `usual` time; returns how many hit whom.

    Workspace and scratch folders have to lie in the place's folder: programs are found by it."""
    done = {"run": 0, "engine": 0}
    for inputs in step.inputs.values():
        place.made(inputs[0])
    while True:
        run = fork.Process(target=place.made, args=(step,))
        run.start()
        while sum(done.values()) < kills and run.is_alive():
            run.join(dice.uniform(0, usual))
            if run.is_alive() and dice.random() < 0.5:
                run.kill()
                done["run"] += 1
                break
            done["engine"] += killed_engine(place.folder) if run.is_alive() else 0
        run.join()
        assert run.exitcode in (0, -signal.SIGKILL), f"the run ended with {run.exitcode}"
        if run.exitcode == 0:
            return done


def killed_engine(folder: Path) -> int:
    """Whether there was one. Of a program and what it started, all are killed, or the program alone."""
    for program in programs_of(folder):
        with suppress(ProcessLookupError):
            os.kill(program, signal.SIGKILL)
            return 1
    return 0
