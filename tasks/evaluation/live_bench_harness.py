"""Program: becomes `live_bench_scores.py` in the environment that has LiveBench, which this one has not."""

import os
import sys

from infra.errors import BadInput
from infra.settings import closed_environment, settings
from tasks.program import run


def refuse(job: dict, out: object, progress: object) -> dict:
    raise BadInput(
        "FUSE_LIVEBENCH_PYTHON: LiveBench needs an environment of its own (pip install -e a checkout of LiveBench/LiveBench, "
        "and pandas with pyarrow); name its Python there"
    )


if __name__ == "__main__":
    if not settings().livebench_python:
        run(refuse)
    python = settings().livebench_python
    os.execve(python, [python, "-m", "tasks.evaluation.live_bench_scores", *sys.argv[1:]], closed_environment())
