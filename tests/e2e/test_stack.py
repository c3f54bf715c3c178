"""The whole of it as its users have it: deployments run on work pools with artifacts in S3, and everything is taken away.

The tests go on from what those before them have left; run the file as a whole, or a test that needs no other.
"""

import shutil
from collections import Counter

import httpx
import pytest

from flows.config.loading import load_recipe
from flows.deploy.forms import Pools
from flows.fusion import fusion
from infra.services import find_marked
from tasks.stage import Step, lineage
from tests.e2e.home import Home
from tests.patience import wait_until

pytestmark = pytest.mark.e2e
POOLS = Pools(sampling="gpu-sample", scoring="gpu-score", sft="gpu-train", wrpo="gpu-train")  # as the deployment has it
SLOW = "how.engines.source-1={kind='transformers', batch_size=1, batches_per_part=1, work_pool='gpu-sample'}"
LATE = {"WRPO", "evaluation · answers of WRPO", "evaluation · judging", "evaluation · results", "report"}


def chain(recipe, *overrides: str) -> dict[str, Step]:
    return {step.label: step for step in lineage(fusion(load_recipe(str(recipe), overrides)))}


def made(home: Home, steps: dict[str, Step]) -> dict[str, str]:
    """label -> which attempt made it, of what is in the store."""
    found = {label: home.store.manifest(*step.address.split("/")) for label, step in steps.items()}
    return {label: manifest.attempt for label, manifest in found.items() if manifest}


def test_up_finds_a_running_stack_and_refuses_taken_ports(home, tmp_path):
    before = {process.pid for process in home.processes("prefect")}
    assert home.fuse("up").returncode == 0
    assert {process.pid for process in home.processes("prefect")} == before
    other = Home(tmp_path, {**home.environment, "FUSE_WORKSPACE": str(tmp_path)})
    answer = other.fuse("up")
    assert answer.returncode == 2 and "FUSE_UI_PORT" in answer.stderr and "is taken" in answer.stderr


def test_keys_are_required_and_lie_where_only_their_owner_reads_them(home):
    assert (home.folder / "environment").stat().st_mode & 0o777 == 0o600
    assert (home.folder / "s3" / "s3.json").stat().st_mode & 0o777 == 0o600
    assert httpx.get(f"{home.keys['AWS_ENDPOINT_URL']}/artifacts?list-type=2").status_code == 403


def test_the_form_refuses_wrong_values(home):
    for wrong in ({"beta": -1}, {"samples_per_prompt": "many"}, {"pools": {"gpu": "x"}}, {"overrides": ["no value"]}):
        with pytest.raises(httpx.HTTPStatusError, match="409"):
            home.start("fuse/demo", **wrong)


def test_two_runs_at_once_outlive_a_killed_worker_and_make_everything_once(home, recipe):
    """The second run is of the same recipe: it finds the first one's stages or waits for them."""
    steps = chain(recipe)
    sampling = steps["per-model sampling · source-1"]
    runs = [home.start("fuse/demo", recipe=str(recipe), overrides=[SLOW]) for _ in range(2)]
    home.wait_until(lambda: home.store.parts(sampling.pool))
    of_worker = home.processes("worker-gpu-sample")
    for program in set(of_worker) & set(home.programs()):
        program.suspend()  # so that it cannot end before it is killed
    (worker,) = (process for process in of_worker if "worker" in process.cmdline())
    worker.kill()
    home.schedule("housekeeping/housekeeping", "* * * * *")  # for the test after this one: here is a minute to wait
    killed = lambda: [run for run in home.stage_runs(sampling.address) if run["state_name"] == "Crashed"]
    home.wait_until(killed)
    finished = home.store.parts(sampling.pool)
    assert home.finish(*runs) == ["Completed", "Completed"]
    assert made(home, steps).keys() == steps.keys()
    counts = home.store.manifest(*sampling.address.split("/")).counts
    found = sum(part.rows for part in finished)
    assert 0 < found < 60 * 3 and (counts["rows_found"], counts["rows_made"]) == (found, 60 * 3 - found)
    started = Counter(tag for run in home.runs() if run["start_time"] for tag in run["tags"] if "step:" in tag)
    assert started.pop(f"step:{sampling.address}") == 2
    pooled = {f"step:{step.address}" for step in chain(recipe, *POOLS.overrides()).values() if step.how.work_pool}
    assert started.keys() == pooled - {f"step:{sampling.address}"} and set(started.values()) == {1}


def test_a_schedule_fires_once_a_minute(home):
    scheduled = lambda: [run for run in home.runs(tags={"all_": ["housekeeping"]}) if run["auto_scheduled"]]
    home.wait_until(lambda: "Completed" in [run["state_name"] for run in scheduled()])
    home.unschedule("housekeeping/housekeeping")
    minutes = sorted(run["expected_start_time"] for run in scheduled() if run["start_time"])
    assert [minute[17:19] for minute in minutes] == ["00"] * len(set(minutes))


def test_a_failed_run_that_is_retried_in_the_ui_makes_only_what_is_missing(home, recipe):
    before, steps = made(home, chain(recipe)), chain(recipe, "wrpo.beta=0.2")
    pairs = home.store.manifest(*steps["pairs"].address.split("/")).files[0].path
    content = home.store.blobs.read(pairs)
    home.store.blobs.delete(pairs)
    shutil.rmtree(home.workspace / "cache")
    run = home.start("fuse/demo", recipe=str(recipe), beta=0.2, pools={"wrpo": "gpu-train"})
    assert home.finish(run) == ["Failed"]
    assert [one["state_name"] for one in home.stage_runs(steps["WRPO"].address)] == ["Refused"]  # bad input: no retry
    assert home.store.blobs.create(pairs, content)
    assert home.set_state(run, "SCHEDULED", "AwaitingRetry") == "ACCEPT"
    assert home.finish(run) == ["Completed"]
    after = made(home, steps)
    assert {label for label in after if after[label] != before.get(label)} == LATE


def test_a_cancelled_run_leaves_no_process(home, recipe):
    workers = lambda: {process.pid for process in find_marked(home.folder)}
    idle = workers()
    endless = ["wrpo.epochs=100000"]
    run = home.start("fuse/demo", recipe=str(recipe), beta=0.3, overrides=endless, pools={"wrpo": "gpu-train"})
    home.wait_until(home.programs)
    assert home.set_state(run, "CANCELLING", "Cancelling") == "ACCEPT"
    home.wait_until(lambda: not home.programs())
    assert home.finish(run) == ["Cancelled"]
    (stage,) = home.stage_runs(chain(recipe, "wrpo.beta=0.3", *endless)["WRPO"].address)
    home.wait_until(lambda: home.state(stage["id"]) == "Cancelled")
    wait_until(lambda: workers() <= idle, story=lambda: str(find_marked(home.folder)))
