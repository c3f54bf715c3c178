"""Program: becomes `lm_eval_tasks.py` in the environment that has lm-eval, which this one has not."""

import os
import sys

from infra.errors import BadInput
from infra.settings import closed_environment, settings
from tasks.program import run


def refuse(job: dict, out: object, progress: object) -> dict:
    raise BadInput(
        "FUSE_HARNESS_PYTHON: benchmarks need lm-eval in an environment of its own (pip install 'lm-eval[hf]==0.4.13'); name its "
        "Python there"
    )


if __name__ == "__main__":
    if not settings().harness_python:
        run(refuse)
    python = settings().harness_python
    os.execve(python, [python, "-m", "tasks.evaluation.lm_eval_tasks", *sys.argv[1:]], closed_environment())
