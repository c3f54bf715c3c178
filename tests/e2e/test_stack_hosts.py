"""Two hosts at work on one model's rows, and one of them lost: two workers of a pool, each with a workspace of its own.

Goes on from what tests/e2e/test_stack.py has left.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.config.loading import load_recipe
from flows.fusion import fusion
from infra.services import NAME
from tasks.stage import lineage
from tests.e2e.home import ROOT, Home
from tests.patience import STILL, wait_until

pytestmark = pytest.mark.e2e
SHARED = (
    "how.engines.source-1={kind='transformers', batch_size=1, batches_per_part=1, work_pool='gpu-sample', shares=2}"
)
LABEL = "per-model sampling · source-1"


@pytest.fixture
def other(home, tmp_path) -> Iterator[Path]:
    """The workspace of another host, whose worker takes one run at a time, as the first one's does."""
    (worker,) = (process for process in home.processes("worker-gpu-sample") if "worker" in process.cmdline())
    place = {**worker.environ(), NAME: "other-host", "FUSE_WORKSPACE": str(tmp_path / "other")}
    words = [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        "gpu-sample",
        "--name",
        "other",
        "--limit",
        "1",
    ]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=place, stdout=log, stderr=log, start_new_session=True)
    yield tmp_path / "other"
    kill_host(home)
    process.wait()


def kill_host(home: Home) -> None:
    """All of it at once, as when its power fails."""
    found = home.processes("other-host")
    for process in found:
        process.suspend()  # so that none can tell of another's end
    for process in found:
        process.kill()
    psutil.wait_procs(found, timeout=STILL)


def made_by(run: dict) -> int:
    """What a share's run says at its end: rows made of its rows."""
    return int(run["state"]["message"].split()[0])


def test_two_hosts_share_a_models_rows_and_one_survives_the_other(home, recipe, other):
    steps = {step.label: step for step in lineage(fusion(load_recipe(str(recipe), ["sampling.n=6"])))}
    sampling, rows = steps[LABEL], 60 * 6
    of_share = lambda number: home.stage_runs(f"{sampling.address}/{number}-of-2")
    before = sum(part.rows for part in home.store.parts(sampling.pool))
    run = home.start("fuse/demo", recipe=str(recipe), samples_per_prompt=6, overrides=[SHARED], pools={})
    wait_until(lambda: [*other.glob("scratch/*/program-0/part-*.parquet")], other, pause=0.01, story=home.story)
    (program,) = {*home.processes("other-host")} & {*home.programs()}
    program.suspend()  # so that it cannot end before it is killed
    wait_until(lambda: not [*other.glob("scratch/*/program-0/part-*.parquet")])
    (lost,) = {process.environ().get("PREFECT__FLOW_RUN_ID") for process in home.processes("other-host")} - {None}
    kill_host(home)
    finished = {part.name: part.rows for part in home.store.parts(sampling.pool)}
    assert before < sum(finished.values()) < rows
    assert home.set_state(lost, "CRASHED", "Crashed") == "ACCEPT"  # as the automation does, when it has been silent
    home.wait_until(lambda: home.store.manifest(*sampling.address.split("/")))
    assert home.set_state(run, "CANCELLING", "Cancelling") == "ACCEPT"
    assert home.finish(run) == ["Cancelled"]

    left = {part.name: part.rows for part in home.store.parts(sampling.pool)}
    assert finished.items() <= left.items() and sum(left.values()) == rows  # nothing was made twice
    counts = home.store.manifest(*sampling.address.split("/")).counts
    assert (counts["rows_found"], counts["rows_made"]) == (rows, 0)
    runs = {number: of_share(number) for number in (1, 2)}
    assert {each["name"] for each in runs[2]} == {f"{LABEL} · share 2 of 2 · {sampling.fingerprint[:8]}"}
    again = [each for shares in runs.values() for each in shares if each["state_name"] == "Completed"]
    assert len(again) == 2 and sorted(len(shares) for shares in runs.values()) == [1, 2]
    by_lost = sum(left.values()) - before - sum(made_by(each) for each in again)
    assert by_lost > 0 and all(made_by(each) for each in again)  # both hosts made some, and these stayed
    assert len(home.stage_runs(sampling.address)) == 1
