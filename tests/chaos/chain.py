"""A chain of cheap real stages for kills: rows in pools, a training with checkpoints, files that others read; no torch.

Everything it makes follows from its settings, so that two runs can be compared byte for byte. What is begun and what is
finished is written into a diary, which outlives a kill.
"""

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from infra.launch import Launcher
from infra.store import Store
from tasks.execution import ensure_artifact
from tasks.rows.parts import write_in_parts
from tasks.rows.pool import fill_pool, write_table
from tasks.stage import How, Step, What, lineage, stage
from tasks.training.resumable import train_resumably

SCHEMA = pa.schema([("number", pa.int64()), ("power", pa.int64()), ("tokens", pa.int64())])
STEPS = 4  # of the training, a checkpoint after each


class Numbers(What):
    count: int


class Power(What):
    exponent: int


class Diary:
    """Lines that are whole or absent, in the order in which they were written by whatever process."""

    def __init__(self, file: Path):
        self.file = file

    def note(self, *words: object) -> None:
        line = " ".join(str(word) for word in words) + "\n"
        descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def lines(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []


class Inline(Launcher):
    """Runs a program's function in this process: a program's own process costs a second, and dies with its starter anyway."""

    def __init__(self, diary: Diary):
        super().__init__(slots=1, threads=1)
        self.diary = diary

    def run(self, module: str, job: dict, out: Path, watch=lambda: None, *place, **more) -> dict:
        out.mkdir(parents=True, exist_ok=True)
        return {"powers": powers, "training": training}[module](job, out, self.diary, watch)


def powers(job: dict, out: Path, diary: Diary, watch) -> dict:
    def work(batch: list[dict]) -> list[dict]:
        diary.note("make", job["exponent"], *(row["number"] for row in batch))
        return [{"number": row["number"], "power": row["number"] ** job["exponent"], "tokens": 1} for row in batch]

    rows, how = pq.read_table(job["rows"]).to_pylist(), {"batch_size": 3, "batches_per_part": 1}
    tokens = write_in_parts(rows, how, SCHEMA, out, lambda *_: watch(), work)
    return {"tokens_made": tokens}


def training(job: dict, out: Path, diary: Diary, watch) -> dict:
    """Its weights are the sums of all rows' powers so far, a quarter of the rows at a step."""
    table = pq.read_table(job["records"]).to_pylist()
    begun, weight = 0, 0
    if "resume" in job:
        begun, weight = (int(word) for word in (Path(job["resume"]) / "weights.txt").read_text().split())
    for step in range(begun, STEPS):
        diary.note("step", step)
        weight += sum(row["power"] for row in table[step::STEPS])
        target = out / "checkpoints" / f"{step + 1:09d}"
        draft = target.with_name(f"draft-{target.name}")
        draft.mkdir(parents=True)
        (draft / "weights.txt").write_text(f"{step + 1} {weight}")
        draft.rename(target)
        watch()
    (out / "model.txt").write_text(str(weight))
    return {"trained": weight}


@stage("numbers", version="1")
def numbers(run, what: Numbers, how: How):
    pd.DataFrame({"number": range(what.count)}).to_parquet(run.folder / "numbers.parquet")


@stage("powers", version="1", rows=lambda what, inputs: {"exponent": what.exponent})
def raise_to(run, what: Power, how: How, numbers):
    wanted = pd.read_parquet(run.file(numbers[0], "numbers.parquet"))
    rows = fill_pool(run, wanted, ["number"], SCHEMA, "powers", {"exponent": what.exponent})
    write_table(run, rows, SCHEMA, "powers.parquet")


@stage("fit", version="1")
def fit(run, what: What, how: How, powers):
    out = train_resumably(run, "training", {"records": str(run.file(powers[0], "powers.parquet"))}, group=0)
    run.keep(out, "model.txt")


@stage("sums", version="1")
def add_up(run, what: What, how: How, powers, model):
    for place, made in enumerate((*powers, *model)):
        name = made.files[0].name
        (run.folder / "parts").mkdir(exist_ok=True)
        (run.folder / "parts" / f"{place}-{name}").write_bytes(run.file(made, name).read_bytes())


def chain() -> Step:
    """Two squares of different length share a pool: the longer one extends what the shorter one made."""
    few, many = numbers(what=Numbers(count=6)), numbers(what=Numbers(count=12))
    squares = [raise_to(what=Power(exponent=2), numbers=each) for each in (few, many)]
    cubes = raise_to(what=Power(exponent=3), numbers=many)
    return add_up(what=What(), powers=[*squares, cubes], model=fit(what=What(), powers=cubes))


def run_chain(url: str, scratch: Path, diary: Diary, options: dict | None = None) -> None:
    """As a run does it, one step after the other; what was already finished when a step began is noted by `ensure`."""
    store = Store(url, scratch / "cache", options)
    launcher = Inline(diary)
    for step in lineage(chain()):
        observe = lambda step, doing, *_: diary.note(doing.split()[0], step.address)
        ensure_artifact(step, store, launcher, observe)
