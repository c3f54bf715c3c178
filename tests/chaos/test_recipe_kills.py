"""The real chain in small, its flow, its programs and its S3 server killed at random until it is done."""

import os
import signal
import subprocess
import time

import pytest

from infra.prefect_server import local_server
from infra.store import Store
from tests.chain.small import fuse, kill, manifests, programs_of, start, write_recipe
from tests.chaos.kills import TALLY
from tests.chaos.server import Mortal
from tests.chaos.test_kills import dice

__all__ = ["dice"]
KILLS, SECONDS = 6, 150  # as many as fit: a busy machine makes fewer
PATIENCE = 45
OFTEN = ("--set", "how.sft.checkpoint_steps=1", "--set", "how.wrpo.checkpoint_steps=1")


@pytest.fixture
def server(tmp_path):
    server = Mortal(tmp_path / "server")
    server.ready()
    yield server
    server.kill()


def contents(store: Store, addresses) -> dict[str, str]:
    return {address: store.manifest(*address.split("/")).content for address in addresses}


@pytest.mark.chaos
def test_a_real_run_ends_the_same_whatever_is_killed(server, tmp_path, dice):
    recipe, space = write_recipe(tmp_path), tmp_path / "space"
    place = {
        "FUSE_STORE": f"{server.address.url}/killed",
        "AWS_ENDPOINT_URL": server.address.endpoint,
        "AWS_ACCESS_KEY_ID": "worker",
        "AWS_SECRET_ACCESS_KEY": "worker-secret",
    }
    with local_server(tmp_path / "prefect") as address:
        calm = fuse(tmp_path / "calm", "run", str(recipe), *OFTEN, PREFECT_API_URL=address)
        assert calm.returncode == 0, calm.stdout + calm.stderr
        made = [address for address in manifests(tmp_path / "calm" / "store") if not address.startswith("report/")]
        expected = contents(Store(str(tmp_path / "calm" / "store"), tmp_path / "one"), made)
        limit = time.monotonic() + SECONDS
        for number in (number for number in range(KILLS) if time.monotonic() < limit):
            process = start(space, "run", str(recipe), *OFTEN, PREFECT_API_URL=address, **place)
            time.sleep(dice.uniform(3, 10))
            end(number, process, space, server)
            visible(server, tmp_path, expected)
        answer = fuse(space, "run", str(recipe), *OFTEN, PREFECT_API_URL=address, **place)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    store = Store(place["FUSE_STORE"], tmp_path / "two", server.address.options())
    assert contents(store, made) == expected


def end(number: int, process: subprocess.Popen, space, server: Mortal) -> None:
    """The flow, one of its programs, or the server; what is left of the run has ended by itself when this returns."""
    if number % 3 == 0:
        kill(process, space)
        TALLY["flows"] += 1
    elif number % 3 == 1 and (programs := programs_of(space)):
        os.killpg(programs[0], signal.SIGKILL)
        TALLY["programs"] += 1
        goes_on_or_says_why(process, space)
    else:
        server.kill()
        server.start()
        server.ready()
        goes_on_or_says_why(process, space)


def goes_on_or_says_why(process: subprocess.Popen, space) -> None:
    """A run that is still at work after a while has come through, and is killed like the others."""
    try:
        said = process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        kill(process, space)
        TALLY["flows"] += 1
        return
    assert process.returncode in (0, 1) and "Traceback" not in said, said


def visible(server: Mortal, folder, expected: dict[str, str]) -> None:
    """Whatever can be seen is whole and what it will be."""
    store = Store(f"{server.address.url}/killed", folder / "reader", server.address.options())
    for address, content in expected.items():
        if manifest := store.manifest(*address.split("/")):
            assert store.verify(manifest) == [] and manifest.content == content
