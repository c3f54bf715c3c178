"""A sampling run that is killed with SIGKILL again and again, the whole of it or an engine alone, until enough kills are done."""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
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


def broken(folder: Path, step: Step, kills: int, usual: float) -> tuple[list[Workplace], Counter]:
    """Makes the step, again and again in a place of its own, through so many kills at moments spread over its `usual` time;
    returns the places and how many hit whom. The workspace has to lie in the folder: programs are found by it."""
    done, places, dice = Counter(), [], random.Random(kills)
    while done.total() < kills:
        places.append(Workplace(folder / str(len(places))))
        through(places[-1], step, kills, usual, dice, done)
    return places, done


def through(place: Workplace, step: Step, kills: int, usual: float, dice: random.Random, done: Counter) -> None:
    for inputs in step.inputs.values():
        place.made(inputs[0])
    ended = -signal.SIGKILL
    while ended == -signal.SIGKILL:
        run, dies = fork.Process(target=place.made, args=(step,)), ""
        run.start()
        while done.total() < kills and not dies:
            run.join(dice.uniform(0, usual))
            if not run.is_alive():
                break
            if dice.random() < 0.5:
                run.kill()
                dies = "run"
                done[dies] += 1
            else:
                done["engine"] += killed_engine(place.folder.parent)
        run.join()
        ended = run.exitcode
    assert ended == 0, f"the run ended with {ended}"


def killed_engine(folder: Path) -> int:
    """How many there were to kill: one, or none yet."""
    for program in programs_of(folder):
        with suppress(ProcessLookupError):
            os.kill(program, signal.SIGKILL)
            return 1
    return 0
