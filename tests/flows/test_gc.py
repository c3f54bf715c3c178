"""Housekeeping: what goes, what stays, and that a look deletes nothing. Over a folder and over a real S3 server."""

import hashlib
import os
import time

import pytest

from flows.config.loading import load_recipe
from flows.fusion import fusion
from flows.upkeep import garbage
from flows.upkeep.garbage import collect_garbage, pin_manifest, unpin_manifest
from infra.blobs import Blobs
from infra.checkpoints import StoredCheckpoints
from infra.uses import in_use
from tasks.stage import lineage
from tests.infra.conftest import place
from tests.infra.seaweed import seaweed
from tests.workplace import as_made

__all__ = ["place", "seaweed"]


def chain(*overrides):
    return fusion(load_recipe("demo", overrides))


def made(store, last, scratch):
    """All artifacts and pools of a chain, as small as can be."""
    for step in lineage(last):
        folder = scratch / step.fingerprint
        folder.mkdir(exist_ok=True)
        (folder / "data.txt").write_text(step.label)
        store.publish(folder, as_made(step))
        if step.pool:
            part = folder / "part"
            part.write_text(step.pool)
            store.append(step.pool, part, 1)


def addresses(last):
    steps = lineage(last)
    return {step.address for step in steps} | {f"pools/{step.pool}" for step in steps if step.pool}


@pytest.fixture
def filled(place, tmp_path):
    """A store with two chains that differ in beta alone."""
    store = place.store()
    kept, other = chain(), chain("wrpo.beta=0.7")
    for last in (kept, other):
        made(store, last, tmp_path)
    return store, kept, other


def test_what_no_kept_recipe_needs_goes_with_its_pools_and_records(filled):
    store, kept, other = filled
    store.blobs.create("_prefect/" + other.address.replace("/", "-"), b"{}")
    extra = addresses(other) - addresses(kept)
    assert {address.split("/")[0] for address in extra} == {
        "wrpo",
        "per-model-sampling",
        "reward-annotation",
        "reward-checks",
        "evaluation",
        "report",
        "pools",
    }
    before = store.blobs.list("")
    assert {one.address for one in collect_garbage(store, [kept], days=0, delete=False)} == extra
    assert store.blobs.list("").keys() - before.keys() <= {"_leases/housekeeping.json"}
    collect_garbage(store, [kept], days=0, delete=True)
    assert all(store.manifest(*step.address.split("/")) for step in lineage(kept))
    assert not any(path.startswith(tuple(extra)) for path in store.blobs.list(""))
    assert store.blobs.list("_prefect") == {}
    assert collect_garbage(store, [kept], days=0, delete=True) == []


def test_nothing_younger_than_the_age_goes(filled):
    store, kept, _ = filled
    assert collect_garbage(store, [kept], days=0.5, delete=True) == []


def test_a_running_flow_keeps_what_it_uses(filled):
    store, kept, other = filled
    with in_use(store.blobs, lineage(other)):
        assert collect_garbage(store, [kept], days=0, delete=True) == []
    assert collect_garbage(store, [kept], days=0, delete=False) != []


def test_a_pin_keeps_an_artifact_with_all_that_it_was_made_from(filled):
    store, _, other = filled
    (wrpo,) = [step for step in lineage(other) if step.label == "WRPO"]
    manifest = store.manifest(*wrpo.address.split("/"))
    pin_manifest(store, manifest)
    collect_garbage(store, [], days=0, delete=True)
    left = {path for path in store.blobs.list("") if not path.startswith(("_leases", "_pins"))}
    kept = tuple(f"{address}/" for address in addresses(wrpo))
    assert left and all(path.startswith(kept) for path in left)
    assert all(any(path.startswith(address) for path in left) for address in kept)
    unpin_manifest(store, manifest)
    collect_garbage(store, [], days=0, delete=True)
    assert {path.split("/")[0] for path in store.blobs.list("")} == {"_leases"}


def test_a_pin_that_is_set_during_a_deletion_counts(filled, monkeypatch):
    store, _, other = filled
    (wrpo,) = [step for step in lineage(other) if step.label == "WRPO"]
    manifest, read_uses = store.manifest(*wrpo.address.split("/")), garbage.list_used

    def pin_meanwhile(blobs, now):
        pin_manifest(store, manifest)
        return read_uses(blobs, now)

    monkeypatch.setattr(garbage, "list_used", pin_meanwhile)  # gc reads the uses under its lease
    collect_garbage(store, [], days=0, delete=True)
    left = set(store.blobs.list(""))
    assert all(any(path.startswith(f"{address}/") for path in left) for address in addresses(wrpo))


def test_checkpoints_go_with_their_training(filled, tmp_path):
    store, kept, other = filled
    (folder := tmp_path / "checkpoint").mkdir()
    (folder / "weights").write_text("w")
    for last in (kept, other):
        (wrpo,) = [step for step in lineage(last) if step.label == "WRPO"]
        StoredCheckpoints(store.blobs, wrpo.address).keep(folder, "000000100")
    collect_garbage(store, [kept], days=0, delete=True)
    left = {path.split("/")[2] for path in store.blobs.list("_checkpoints")}
    assert left == {step.fingerprint for step in lineage(kept) if step.label == "WRPO"}


def test_a_pool_that_still_grows_is_young(tmp_path):
    from infra.store import Store

    store, name = Store(str(tmp_path / "store"), tmp_path / "cache"), "per-model-sampling/" + 40 * "a"
    parts = []
    for text in ("one", "two"):
        (tmp_path / text).write_text(text)
        parts.append(store.append(name, tmp_path / text, 1))
    old = time.time() - 40 * 86_400
    os.utime(store.blobs.local(parts[0].path), (old, old))
    assert collect_garbage(store, [], days=30, delete=False) == []
    os.utime(store.blobs.local(parts[1].path), (old, old))
    (found,) = collect_garbage(store, [], days=30, delete=False)
    assert found.address == f"pools/{name}" and found.size == 6
    assert hashlib.sha256(b"one").hexdigest() in parts[0].path


@pytest.mark.parametrize("kind", ["wrpo", "_checkpoints"])
def test_a_kill_in_the_middle_leaves_nothing_that_looks_whole(filled, tmp_path, monkeypatch, kind):
    store, kept, other = filled
    (wrpo,) = [step for step in lineage(other) if step.label == "WRPO"]
    (folder := tmp_path / "checkpoint").mkdir()
    (folder / "weights").write_text("w")
    StoredCheckpoints(store.blobs, wrpo.address).keep(folder, "000000100")

    class Killed(BaseException):
        pass

    def delete_then_die(blobs, path, delete=Blobs.delete):
        delete(blobs, path)
        if path.startswith(kind):
            raise Killed

    monkeypatch.setattr(Blobs, "delete", delete_then_die)
    with pytest.raises(Killed):
        collect_garbage(store, [kept], days=0, delete=True)
    looks_whole = {
        "wrpo": lambda: store.manifest("wrpo", wrpo.fingerprint),
        "_checkpoints": lambda: StoredCheckpoints(store.blobs, wrpo.address).names(),
    }
    assert not looks_whole[kind]()
