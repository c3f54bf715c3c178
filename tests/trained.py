"""A training step with stand-ins for what comes before it: `python -m tests.trained FOLDER` brings it to its manifest.

`python -m tests.trained FOLDER flow` does so on the Prefect server of PREFECT_API_URL, as `fuse run` does, without any
checkpoint but the one that an interruption leaves.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from infra.launch import Launcher
from infra.manifest import Manifest
from infra.settings import settings
from infra.store import Store
from tasks.execution import Run, ensure_artifact
from tasks.records import SFT_RECORD
from tasks.sft.stage import SFT, train_sft
from tasks.stage import How, Step, What, stage
from tasks.training.settings import TrainingHow

FEWER = 60  # epochs of a training that a flow brings


@stage("stand-in model", version="1")
def tiny_model(run: Run, what: What, how: How) -> None:
    from tests import tiny

    tiny.folder(run.folder / "model")


@stage("stand-in records", version="1")
def few_records(run: Run, what: What, how: How) -> None:
    rows = [
        {"prompt_id": word, "messages": [{"role": "user", "content": f"copy: {word}"}], "response": word, "source": "s"}
        for word in ("a", "bc", "def", "ghij", "klmno", "pqr", "st")
    ]
    table = pa.Table.from_pylist([row | {"score": 1.0} for row in rows], schema=SFT_RECORD)
    pq.write_table(table, run.folder / "records.parquet")


def step(every: int, learning_rate: float = 1e-3, epochs: int = 200, restarts: int = 2) -> Step:
    what = SFT(learning_rate=learning_rate, epochs=epochs, batch_size=4, max_length=64, seed=1)
    how = TrainingHow(device_batch_size=4, checkpoint_steps=every, restarts=restarts)
    return train_sft(model=tiny_model(what=What()), records=few_records(what=What()), what=what, how=how)


def bring_by_flow(folder: Path) -> None:
    from prefect import flow

    from flows.plan import plan_all
    from flows.run.orchestrate import FLOW_OPTIONS, result_storage, submit_and_collect
    from flows.workspace import Workspace

    place = Workspace(Store(str(folder / "store"), folder / "cache"), Launcher(1, 1), settings().workspace)

    @flow(name="one training", **FLOW_OPTIONS)
    def body() -> None:
        assert not submit_and_collect(plan_all([step(0, epochs=FEWER)], place.store), result_storage(place), place)

    body()


def bring(folder: Path, every: int = 10) -> Manifest:
    store, last = Store(str(folder / "store"), folder / "cache"), step(every)
    for inputs in last.inputs.values():
        ensure_artifact(inputs[0], store, Launcher(1, 1))
    return ensure_artifact(last, store, Launcher(1, 1))


if __name__ == "__main__":
    assert settings().workspace.is_absolute(), "the test says where scratch files go"
    (bring_by_flow if sys.argv[2:] == ["flow"] else bring)(Path(sys.argv[1]))
