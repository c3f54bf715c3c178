"""A worker process that has many small programs run at once, as pools do: `python -m tests.node.storm SEED JOBS SECONDS`."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor

from infra.errors import ProgramFailed
from infra.ledger import Request
from infra.settings import settings
from tasks.program import end_with_starter
from tests.node.node import StandIns

SIZES = (1, 1, 1, 2, 2, 4, 8)
AT_ONCE = 8


def main(seed: int, jobs: int, seconds: float) -> None:
    chance, place = random.Random(seed), settings().workspace / f"storm-{seed}"
    lengths = {f"{seed}-{number}": chance.expovariate(1 / seconds) for number in range(jobs)}
    launcher = StandIns(lambda request: lengths[request.what], "tests.node.holder")

    def job(name: str) -> None:
        while not (place / name / "summary.json").exists():
            request = Request(gpus=chance.choice(SIZES), what=name, urgency=chance.randrange(3), rows=1)
            try:
                launcher.run("tests.node.holder", {"model": f"{chance.randrange(9)}"}, place / name, request=request)
            except ProgramFailed:
                continue  # it was killed

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(job, lengths))


if __name__ == "__main__":
    end_with_starter()
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
