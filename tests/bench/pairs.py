"""Seconds and peak memory from 3,000,000 scored responses to records, beside the naive groupby-apply on a tenth of them.

`python -m tests.bench.pairs [PROMPTS]`: 60,000 prompts × 10 sources × 5 responses of 300 to 1,500 bytes, as the sampling and
scoring stages leave them (zstd Parquet, a file per source). Every measurement is a process of its own.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.pairs.rules import Best, Gap, SameSource, Wrpo
from tasks.pairs.stage import Pairs, SftRecords, build_pairs, build_sft_records
from tasks.records import MESSAGES
from tasks.stage import How

SOURCES, SAMPLES = 10, 5
NAMES = tuple(f"source-{number}" for number in range(SOURCES))


class Files:
    """Stands for a Run: hands out files, takes counts."""

    def __init__(self, root: Path, folder: Path):
        self.root, self.folder, self.counts = root, folder, {}
        folder.mkdir(exist_ok=True)

    def file(self, manifest: str, name: str) -> Path:
        return self.root / manifest / name

    def count(self, **numbers) -> None:
        self.counts.update(numbers)


def make(root: Path, prompts: int) -> None:
    random = np.random.default_rng(0)
    words = [
        bytes(random.integers(97, 123, length).astype("uint8")).decode() for length in random.integers(2, 11, 20000)
    ]
    ranks = np.minimum(random.zipf(1.3, 4_000_000) - 1, len(words) - 1)
    prose = " ".join(words[rank] for rank in ranks)
    ids = sorted(hashlib.sha256(str(number).encode()).hexdigest() for number in range(prompts))
    messages = pa.array(
        [[{"role": "user", "content": f"question {number} " * 10}] for number in range(prompts)], MESSAGES
    )
    save(root / "prompts/prompts.parquet", {"prompt_id": ids, "messages": messages, "category": [""] * prompts})
    parts = ["sft" if number % 3 == 0 else "preference" for number in range(prompts)]
    save(root / "splits/splits.parquet", {"prompt_id": ids, "part": parts})
    for name in NAMES:
        make_model(root, name, ids, prose, random)
    make_model(root, "own", ids[1::3] + ids[2::3], prose, random)


def make_model(root: Path, name: str, ids: list[str], prose: str, random: np.random.Generator) -> None:
    """Each text is a stretch of Zipf-distributed words at a place of its own."""
    count = len(ids) * SAMPLES
    starts, lengths = random.integers(0, len(prose) - 1500, count), random.integers(300, 1501, count)
    texts = pa.array(prose[start : start + length] for start, length in zip(starts, lengths, strict=True))
    contents = [hashlib.blake2b(f"{name} {number}".encode(), digest_size=20).hexdigest() for number in range(count)]
    columns = {
        "prompt_id": np.repeat(np.array(ids), SAMPLES),
        "sample_index": np.tile(np.arange(SAMPLES, dtype="int32"), len(ids)),
        "text": texts,
        "content_id": contents,
        "tokens": (lengths // 4).astype("int32"),
        "finish_reason": np.repeat("stop", count),
    }
    save(root / name / "responses.parquet", columns)
    scores = pd.DataFrame({"content_id": contents, "score": random.normal(0.14, 0.03, count).astype("float32")})
    save(root / name / "scores.parquet", {**scores.sort_values("content_id").astype({"score": "float64"})})


def save(file: Path, columns: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()}
    )
    pq.write_table(table, file, compression="zstd")


def given() -> dict:
    return {"prompts": ("prompts",), "splits": ("splits",), "responses": NAMES, "scores": NAMES}


def fast_sft(run: Files) -> None:
    build_sft_records.work(run, SftRecords(sources=NAMES, rule=Best(kind="best")), How(), **given())


def fast_wrpo(run: Files) -> None:
    what = Pairs(sources=NAMES, rule=Wrpo(kind="wrpo"))
    build_pairs.work(run, what, How(), **given(), own_responses=("own",), own_scores=("own",))


def fast_fusechat(run: Files) -> None:
    rule = SameSource(kind="same-source", gap=Gap(low=0.01, high=0.1))
    build_pairs.work(run, Pairs(sources=NAMES, rule=rule), How(), **(given() | {"splits": ()}))


def naive_fusechat(run: Files) -> None:
    """The usual way: one frame with all texts, a Python function per prompt."""
    prompts = pd.read_parquet(run.file("prompts", "prompts.parquet"))
    frames = []
    for name in NAMES:
        rows = pd.read_parquet(run.file(name, "responses.parquet"))
        frames.append(
            rows.merge(pd.read_parquet(run.file(name, "scores.parquet")), on="content_id").assign(source=name)
        )

    def pair(rows: pd.DataFrame) -> pd.Series | None:
        ordered = rows.sort_values(["score", "source", "sample_index"], ascending=[False, True, True])
        mine = ordered[ordered["source"] == ordered["source"].iloc[0]]
        gap = mine["score"].iloc[0] - mine["score"].iloc[-1]
        if mine["text"].iloc[0] == mine["text"].iloc[-1] or not 0.01 <= gap <= 0.1:
            return None
        return pd.Series({"source_best": mine["text"].iloc[0], "source_worst": mine["text"].iloc[-1]})

    pairs = pd.concat(frames).groupby("prompt_id").apply(pair).dropna()
    run.count(rows=len(pairs))
    pairs.merge(prompts, on="prompt_id").to_parquet(run.folder / "pairs.parquet")


def naive_by_source(run: Files) -> None:
    """The same with a Python function per prompt and source, and the best source's pair kept at the end."""
    prompts = pd.read_parquet(run.file("prompts", "prompts.parquet"))
    frames = []
    for name in NAMES:
        rows = pd.read_parquet(run.file(name, "responses.parquet"))
        frames.append(
            rows.merge(pd.read_parquet(run.file(name, "scores.parquet")), on="content_id").assign(source=name)
        )

    def ends(rows: pd.DataFrame) -> pd.Series:
        ordered = rows.sort_values(["score", "sample_index"], ascending=[False, True])
        first, last = ordered.iloc[0], ordered.iloc[-1]
        values = {
            "source_best": first["text"],
            "source_worst": last["text"],
            "high": first["score"],
            "low": last["score"],
        }
        return pd.Series(values)

    pairs = pd.concat(frames).groupby(["prompt_id", "source"]).apply(ends).reset_index()
    pairs = pairs.sort_values(["prompt_id", "high", "source"], ascending=[True, False, True]).drop_duplicates(
        "prompt_id"
    )
    pairs = pairs[(pairs["high"] - pairs["low"]).between(0.01, 0.1) & (pairs["source_best"] != pairs["source_worst"])]
    run.count(rows=len(pairs))
    pairs.merge(prompts, on="prompt_id").to_parquet(run.folder / "pairs.parquet")


WAYS = {way.__name__: way for way in (fast_sft, fast_wrpo, fast_fusechat, naive_fusechat, naive_by_source)}


def measure(way: str, root: Path) -> None:
    run = Files(root, root / way)
    start, busy = time.perf_counter(), time.process_time()
    WAYS[way](run)
    print(time.perf_counter() - start, time.process_time() - busy, peak_memory(), run.counts["rows"])


def peak_memory() -> float:
    """GiB. Not getrusage's, which begins with the size of whoever started us."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**20


def main(prompts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, tenth = Path(folder, "whole"), Path(folder, "tenth")
        make(whole, prompts)
        make(tenth, prompts // 10)
        size = sum(file.stat().st_size for file in whole.rglob("*.parquet")) / 2**30
        print(f"{prompts} prompts, {SOURCES} sources, {SAMPLES} responses each: {size:.1f} GiB of zstd Parquet")
        per_row = {}
        for way in WAYS:
            root, rows = (tenth, prompts // 10) if way.startswith("naive") else (whole, prompts)
            command = [sys.executable, "-m", "tests.bench.pairs", way, str(root)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            seconds, busy, peak = (float(value) for value in answer[:3])
            rows *= SOURCES * SAMPLES
            per_row[way] = np.array([seconds, busy]) / rows
            print(
                f"{way:15} {rows:>9,} responses → {answer[3]:>6} records  {seconds:6.1f} s ({busy:.1f} s of CPU)  "
                f"peak {peak:.2f} GiB"
            )
        for way in ("naive_fusechat", "naive_by_source"):
            wall, busy = per_row[way] / per_row["fast_fusechat"]
            print(f"per response, {way} takes {wall:.0f} × as long, {busy:.0f} × the CPU (goal 20)")


if __name__ == "__main__":
    measure(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) == 3 else main(int((sys.argv[1:] or ["60000"])[0]))
