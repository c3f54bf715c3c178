"""The smallest program that needs GPUs: holds the locks of those that it sees, for a while."""

import time
from pathlib import Path

from tasks.program import Progress, run
from tests.node.record import Record


def hold(job: dict, out: Path, progress: Progress) -> dict:
    Record(job).wait_until(time.time() + job["seconds"])
    return {"rows": 1}


if __name__ == "__main__":
    run(hold)
