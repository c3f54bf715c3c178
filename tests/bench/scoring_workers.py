"""Scoring by one worker and by two, each with one thread: the same rows, and how much faster. On two quiet cores.

`python -m tests.bench.scoring_workers [--prompts N]`. The model is that of `tests.bench.rewards`; the times hold the programs'
starts, which is why there should be minutes of work.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import pandas as pd

from infra.launch import Launcher
from tasks.records import SCORE
from tasks.rows.pool import fill_pool, write_table
from tasks.stage import How, What, stage
from tests.bench.rewards import READING, candidates, save_model
from tests.workplace import Workplace

HOW = {"batch_size": 64, "batch_tokens": 65_536, "batches_per_part": 8, "layout": "shared-prompt"}


class Candidates(What):
    prompts: int


class Scorers(How):
    workers: int
    model: str


@stage("scoring by workers", version="1", rows=lambda what, inputs: {"candidates": what})
def score_candidates(run, what: Candidates, how: Scorers) -> None:
    wanted = pd.DataFrame(candidates(256, 64, what.prompts, 5))
    wanted.insert(0, "prompt_id", wanted["content_id"].str.split("-").str[0])
    job = {"model": how.model, "what": READING, "how": HOW}
    module = "tasks.scores.transformers_program"
    rows = fill_pool(run, wanted, ["content_id"], SCORE, module, job, workers=how.workers)
    write_table(run, rows.sort_values("content_id"), SCORE, "scores.parquet")


def measure(folder: Path, prompts: int, workers: int) -> tuple[float, pd.DataFrame]:
    place = Workplace(folder / str(workers), Launcher(slots=workers, threads=1))
    how = Scorers(workers=workers, model=str(folder / "model"))
    began = time.monotonic()
    table = place.table(score_candidates(what=Candidates(prompts=prompts), how=how), "scores.parquet")
    return time.monotonic() - began, table


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--prompts", type=int, default=400)
    prompts = asked.parse_args().prompts
    with tempfile.TemporaryDirectory() as name:
        os.environ["FUSE_WORKSPACE"] = f"{name}/workspace"
        save_model(Path(name, "model"))
        (alone, one), (together, two) = (measure(Path(name), prompts, workers) for workers in (1, 2))
    same = one.drop(columns="score").equals(two.drop(columns="score"))
    apart = float((one["score"] - two["score"]).abs().max())
    print(
        f"{len(one)} candidates: one worker {alone:.1f} s, two workers {together:.1f} s, {alone / together:.2f} times as fast"
    )
    print(
        f"rows {'equal' if same else 'differ'}, largest difference of a score {apart:.1e}; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
