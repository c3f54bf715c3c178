"""Memory of the process that orchestrates sampling, for many responses through an endpoint that answers at once.

python -m tests.bench.sampling_memory [ROWS] prints the peak of this process, of its programs, and the time. The programs'
peak is of the largest child.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLES, CHARACTERS = 5, 1500


def main(rows: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FUSE_WORKSPACE"] = f"{folder}/workspace"
        return measured(rows, Path(folder))


def measured(rows: int, folder: Path) -> int:
    from infra.launch import Launcher
    from tasks.responses.engines import EndpointEngine
    from tests.responses.steps import model, sampled
    from tests.workplace import Workplace

    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.echo_server", str(CHARACTERS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
    texts = tuple(f"{number} what is it, and why is it so? " * 10 for number in range(rows // SAMPLES))
    step = sampled(
        EndpointEngine(kind="endpoint", urls=(url,), model="m"),
        texts,
        model(kind="served"),
        n=SAMPLES,
        max_new_tokens=512,
    )
    workplace = Workplace(folder, Launcher(1, 1))
    for inputs in step.inputs.values():
        workplace.made(inputs[0])
    before, started = peak(resource.RUSAGE_SELF), time.monotonic()
    made = workplace.made(step)
    after = peak(resource.RUSAGE_SELF)
    server.stdin.close()
    print(
        f"{made.counts['rows']:,} responses of {CHARACTERS:,} characters: this process {after:.0f} MB at its peak "
        f"({before:.0f} MB before), the largest program {peak(resource.RUSAGE_CHILDREN):.0f} MB, "
        f"{time.monotonic() - started:.0f} s"
    )
    return round(after)


def peak(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 300_000)
