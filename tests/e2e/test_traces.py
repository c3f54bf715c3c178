"""What is left when everything has run: messages, no secret, and artifacts that need no database of Prefect's.

Goes on from what the files before have left.
"""

import shutil

import pytest

from flows.config.loading import load
from flows.fusion import fusion
from infra.services import marked
from tasks.stage import lineage
from tests.e2e.conftest import CANARY
from tests.hostile.listening import addresses

pytestmark = pytest.mark.e2e


def test_the_webhook_hears_how_runs_ended_under_names_that_a_person_knows(home, heard):
    told = [text.split(": ")[1].split(",")[0] for text in heard if text.startswith("tiny · small · ")]
    assert {"completed", "failed"} <= set(told)


def test_every_server_of_the_stack_listens_on_loopback_alone(home):
    for name in ("FUSE_UI_PORT", "FUSE_S3_PORT"):
        assert addresses(int(home.environment[name])) == {"127.0.0.1"}


def test_no_secret_is_left_anywhere(home):
    """In no database, log, manifest, report or artifact; but in the two files that hold the keys."""
    secrets = {CANARY.encode(), home.keys["AWS_SECRET_ACCESS_KEY"].encode()}
    places = [home.folder / "environment", home.folder / "s3" / "s3.json"]
    assert all(home.keys["AWS_SECRET_ACCESS_KEY"] in place.read_text() for place in places)
    searched = [file for file in home.workspace.rglob("*") if file.is_file() and file not in places]
    assert {"prefect.db", "worker-gpu-train.log", "prefect.log"} <= {file.name for file in searched}
    assert [file for file in searched if any(secret in file.read_bytes() for secret in secrets)] == []
    stored = [path for path in home.store.blobs.list("") if any(s in home.store.blobs.read(path) for s in secrets)]
    assert stored == []


def test_without_prefects_database_nothing_is_lost_and_nothing_made_again(home, recipe):
    steps = lineage(fusion(load(str(recipe))))
    made = lambda: [home.store.manifest(*step.address.split("/")).attempt for step in steps]
    before = made()
    assert home.fuse("down").returncode == 0 and marked(home.folder) == []
    assert "nothing ran" in home.fuse("down").stdout
    shutil.rmtree(home.folder / "prefect")
    assert home.fuse("up").returncode == 0
    run = home.start("fuse/demo", recipe=str(recipe))
    assert home.finish(run) == ["Completed"], home.story()
    assert made() == before and len(home.runs()) == 1
    tasks = home.call("POST", "/task_runs/filter", task_runs={"flow_run_id": {"any_": [run]}}, limit=200)
    states = {one["name"]: one["state_name"] for one in tasks}
    assert {states[step.label] for step in steps if step.label in states} == {"Cached"}
