"""`fuse gc --delete` beside running flows: a collector that was paused, or whose clock is wrong, deletes nothing they use."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.cli.main import main
from infra.settings import settings
from infra.uses import in_use
from tests.chaos.proxy import Delay, Proxy, Skew
from tests.infra.conftest import Place
from tests.infra.seaweed import seaweed
from tests.patience import STILL

__all__ = ["seaweed"]
ROOT = Path(__file__).parents[2]
ADDRESSES = [f"wrpo/{number:040x}" for number in range(100)]
USE = (
    "import sys, time; from types import SimpleNamespace; from infra.blobs import Blobs; from infra.uses import in_use\n"
    "with in_use(Blobs(sys.argv[1]), [SimpleNamespace(address=sys.argv[2], pool=None)]):\n"
    "    print('declared', flush=True); time.sleep(300)"
)


@pytest.fixture(autouse=True)
def short_leases(monkeypatch, tmp_path):
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()


def environment(workspace: Path) -> dict[str, str]:
    return {"FUSE_WORKSPACE": str(workspace / "workspace"), "FUSE_LEASE_SECONDS": "2"}


def fill(place: Place) -> None:
    """Artifacts that no recipe needs."""
    blobs = place.blobs()
    for address in ADDRESSES:
        blobs.create(f"{address}/data/0/weights", address.encode())
        blobs.create(f"{address}/MANIFEST.json", address.encode())


def objects(place: Place) -> set[str]:
    return {path for path in place.blobs().list("") if path.startswith("wrpo/")}


@contextmanager
def collector(place: Place, endpoint: str | None = None):
    """The real command, in a process of its own."""
    keys = {}
    if place.remote:
        options = place.options
        keys = {"AWS_ACCESS_KEY_ID": options["key"], "AWS_SECRET_ACCESS_KEY": options["secret"]}
        keys["AWS_ENDPOINT_URL"] = endpoint or options["endpoint_url"]
    command = [sys.executable, "-m", "flows.cli.main", "gc", "--keep", "demo", "--days", "0", "--delete"]
    own = environment(place.scratch) | {"FUSE_STORE": place.url, "AWS_DEFAULT_REGION": "us-east-1"} | keys
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Flow(threading.Thread):
    """A flow declares what it needs, then looks at what is there, as all flows do."""

    def __init__(self, place: Place):
        super().__init__(daemon=True)
        self.place, self.declared, self.ended = place, threading.Event(), threading.Event()

    def run(self):
        steps = [SimpleNamespace(address=address, pool=None) for address in ADDRESSES]
        with in_use(self.place.blobs(), steps):
            self.found = objects(self.place)
            self.declared.set()
            self.ended.wait(STILL)


def test_a_collector_that_was_paused_leaves_what_a_flow_has_declared_since(tmp_path):
    place = Place(str(tmp_path / "store"), tmp_path)
    fill(place)
    before, flow = objects(place), Flow(place)
    with collector(place) as process:
        while objects(place) == before:
            assert process.poll() is None
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)  # its lease has expired
        flow.start()
        flow.declared.wait(5)  # in vain where it was stopped in the middle of a deletion
        process.send_signal(signal.SIGCONT)
        _, told = process.communicate(timeout=STILL)
        assert flow.declared.wait(STILL)
        assert flow.found and flow.found - objects(place) == set()
        assert process.returncode == 1 and b"lease" in told
    flow.ended.set()
    flow.join()


def test_a_paused_collector_of_a_bucket_keeps_newly_declared_uses(tmp_path, seaweed):
    place = Place(f"{seaweed.url}/{tmp_path.name}", tmp_path, seaweed.options())
    fill(place)
    proxy, flow, deletions = Proxy(seaweed.endpoint), Flow(place), []

    def pause_at_the_third(method: str, path: str):
        if method == "DELETE" and "/wrpo/" in path:
            deletions.append(path)
            if len(deletions) == 3:
                process.send_signal(signal.SIGSTOP)
                return Delay(0.5)
        return None

    proxy.fault = pause_at_the_third
    try:
        with collector(place, proxy.url) as process:
            while len(deletions) < 3:
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(2.5)  # its lease has expired
            flow.start()
            assert flow.declared.wait(STILL)
            process.send_signal(signal.SIGCONT)
            _, told = process.communicate(timeout=STILL)
            assert flow.found and flow.found - objects(place) == set()
            assert process.returncode == 1 and b"lease" in told
    finally:
        flow.ended.set()
        proxy.close()


@contextmanager
def other_flow(place: Place):
    """A flow of another process that needs the first address."""
    command = [sys.executable, "-c", USE, place.url, ADDRESSES[0]]
    flow = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert flow.stdout.readline() == "declared\n"
        yield flow
    finally:
        flow.kill()
        flow.wait()


def test_what_a_paused_flow_has_declared_stays_for_hours_after_its_lease(tmp_path):
    place = Place(str(tmp_path / "store"), tmp_path)
    fill(place)
    with other_flow(place) as flow:
        flow.send_signal(signal.SIGSTOP)
        time.sleep(2.5)  # its lease has expired
        with collector(place) as process:
            assert process.wait(STILL) == 0
        assert objects(place) == {f"{ADDRESSES[0]}/MANIFEST.json", f"{ADDRESSES[0]}/data/0/weights"}


@pytest.mark.parametrize("seconds", [120, -120])
def test_a_collector_whose_clock_differs_from_the_buckets_refuses(tmp_path, seaweed, seconds):
    place = Place(f"{seaweed.url}/{tmp_path.name}", tmp_path, seaweed.options())
    fill(place)
    before, proxy = objects(place), Proxy(seaweed.endpoint)
    proxy.fault = lambda method, path: Skew(seconds)
    try:
        with collector(place, proxy.url) as process:
            _, told = process.communicate(timeout=STILL)
    finally:
        proxy.close()
    assert process.returncode == 2 and re.search(rb"clock is 1(19|2[01]) s", told), told
    assert objects(place) == before


@pytest.mark.parametrize("seconds", [120, -120])
def test_a_collector_whose_clock_differs_from_the_folders_refuses(tmp_path, monkeypatch, capsys, seconds):
    """A live flow's lease looks expired to a clock that is ahead."""
    place = Place(str(tmp_path / "store"), tmp_path)
    fill(place)
    monkeypatch.setenv("FUSE_STORE", place.url)
    settings.cache_clear()
    before, now = objects(place), time.time
    with other_flow(place):
        monkeypatch.setattr(time, "time", lambda: now() + seconds)
        code = main(["gc", "--keep", "demo", "--days", "0", "--delete"])
    assert objects(place) == before
    assert code == 2 and "clock" in capsys.readouterr().err
