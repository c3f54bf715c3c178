"""A fake engine: squares of numbers, one at a time, in parts of three; its job may have it die on a number, or be slow."""

import os
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq

from infra.errors import BadInput, OutOfMemory
from tasks.program import Progress, run_program
from tasks.rows.parts import Parts
from tests.squares import SCHEMA


def squares(job: dict, out: Path, progress: Progress) -> dict:
    rows, parts = pq.read_table(job["rows"]).to_pylist(), Parts(SCHEMA, out, seconds=3600)
    (out / "pid").write_text(str(os.getpid()))
    for place, row in enumerate(rows, 1):
        number = row["number"]
        if number in job["refuses"]:
            parts.close()
            raise BadInput(f"{number} is not a number")
        starves_on = job.get("starves_on", ())
        if number in (*job["dies_on"], *starves_on) and not (marker := Path(job["deaths"]) / f"{number}").exists():
            if number not in job["always"]:
                marker.touch()
            if number in starves_on:
                raise OutOfMemory(f"out of memory at {number}: lower squares.batch_size")
            print(f"the last words before {number}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(job["seconds"])
        parts.add([{"number": number, "square": number**2, "place": os.getpid(), "maker": "", "tokens": 1}])
        if place % 3 == 0:
            parts.close()
        progress(place, len(rows))
    parts.close()
    return {"tokens_made": len(rows)}


if __name__ == "__main__":
    run_program(squares)
