"""Seconds and peak memory of `fuse sources` at 3,000,000 responses: 60,000 prompts × 10 sources × 5, and one juror.

`python -m tests.bench.economics [PROMPTS]`. The measurement is a process of its own; at full size it fails beyond 30 s or 4 GiB.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from flows.results.economics import read_rows, weigh_by_juror, weigh_rows
from tasks.economics.rows import best_scores
from tests.bench.pairs import peak_memory, save

SOURCES, SAMPLES, PROMPTS = 10, 5, 60_000
NAMES = tuple(f"source-{number}" for number in range(SOURCES))
KINDS = np.array(["chat", "code", "math"])
SECONDS, GIB = 30, 4


class Files:
    """Stands for a store: an artifact is a folder."""

    def __init__(self, root: Path):
        self.root = root

    def fetch(self, name: str, names: list[str]) -> Path:
        return self.root / name


def make(root: Path, prompts: int) -> None:
    """As the sampling and scoring stages leave them, without the texts, which nobody reads here."""
    random = np.random.default_rng(0)
    ids = sorted(hashlib.sha256(str(number).encode()).hexdigest() for number in range(prompts))
    save(root / "prompts/prompts.parquet", {"prompt_id": ids, "category": KINDS[np.arange(prompts) % 3]})
    for place, name in enumerate(NAMES):
        count = prompts * SAMPLES
        contents = [hashlib.blake2b(f"{name} {number}".encode(), digest_size=20).hexdigest() for number in range(count)]
        columns = {
            "prompt_id": np.repeat(np.array(ids), SAMPLES),
            "sample_index": np.tile(np.arange(SAMPLES, dtype="int32"), prompts),
            "content_id": contents,
            "tokens": random.integers(50, 900, count).astype("int32"),
            "finish_reason": np.repeat("stop", count),
        }
        save(root / name / "responses.parquet", columns)
        for kind, noise in (("reward", 0.03), ("juror", 0.05)):
            score = random.normal(0.14 + 0.002 * place, noise, count).round(4)
            table = pd.DataFrame({"content_id": contents, "score": score}).sort_values("content_id")
            save(root / f"{name}-{kind}" / "scores.parquet", {**table})


def measure(root: Path) -> dict:
    store, of = Files(root), lambda kind: [f"{name}-{kind}" for name in NAMES]
    table = pq.read_table(root / "prompts/prompts.parquet")
    ids: pa.Array = table["prompt_id"].combine_chunks()
    rows = read_rows(NAMES, NAMES, of("reward"), ids, store)  # pyright: ignore[reportArgumentType]
    found = weigh_rows(rows, np.array(table["category"].to_pylist()), [None] * SOURCES)
    judged = read_rows(NAMES, NAMES, of("juror"), ids, store)  # pyright: ignore[reportArgumentType]
    found["jury"] = [weigh_by_juror(rows, best_scores(rows), judged.score, [None] * SOURCES)]
    return found


def main(prompts: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), prompts)
        command = [sys.executable, "-m", "tests.bench.economics", "measure", folder]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    seconds, busy, peak = map(float, answer)
    rows, load = prompts * SOURCES * SAMPLES, os.getloadavg()[0]
    print(f"{rows:,} responses and a juror: {seconds:.1f} s, {busy:.1f} s of CPU, peak {peak:.2f} GiB, load {load:.1f}")
    return int(prompts >= PROMPTS and (seconds > SECONDS or peak > GIB))


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        start, busy = time.perf_counter(), time.process_time()
        measure(Path(sys.argv[2]))
        print(time.perf_counter() - start, time.process_time() - busy, peak_memory())
    else:
        sys.exit(main(int((sys.argv[1:] or [str(PROMPTS)])[0])))
