"""What a check costs beyond the program itself, by every means of this machine: `python -m tests.bench.checks`."""

import resource
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from infra.settings import count_cores
from tasks.checks.sandbox import outside as sandbox
from tasks.checks.verdicts import Limits, ProgramTests, judge_response

SUITE = ProgramTests("assert f(1) == 2\nassert f(2) == 3\nassert f(3) == 4")
CODE, TIMES = "def f(x):\n    return x + 1\n", 200


def timed(box: sandbox.Sandbox) -> float:
    started = time.perf_counter()
    assert judge_response(box, CODE, SUITE, Limits()).verdict == "passed"
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    print(f"{TIMES} executions of a program of two lines with three tests; {count_cores()} cores, load {load()}")
    for means in sandbox.MEANS:
        if means == "bubblewrap" and shutil.which("bwrap") is None:
            print(f"{means:12}  not installed")
            continue
        spent = processor()
        with sandbox.Sandbox(means) as box:
            if weakness := box.weakness():
                print(f"{means:12}  {weakness}")
                continue
            alone = statistics.quantiles((timed(box) for _ in range(TIMES)), n=10)
            with ThreadPoolExecutor(count_cores()) as pool:
                started = time.perf_counter()
                list(pool.map(lambda _: timed(box), range(TIMES)))
                together = 1000 * (time.perf_counter() - started) / TIMES
        each = 1000 * (processor() - spent) / (2 * TIMES)
        known = f"; processor {each:.0f} ms each" if each >= 1 else ""  # bubblewrap does not hand it up
        print(
            f"{means:12}  median {alone[4]:.0f} ms, 90% within {alone[8]:.0f} ms; {count_cores()} at once {together:.0f} ms "
            f"each{known}"
        )


def processor() -> float:
    """Seconds of processor time that ended children took, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def load() -> str:
    with open("/proc/loadavg") as file:
        return file.read().split()[0]


if __name__ == "__main__":
    main()
