"""Checkpoints in the store: listed only when complete, the newest fetched, old ones and leftovers dropped."""

from types import SimpleNamespace

import pytest

from infra.checkpoints import StoredCheckpoints
from infra.errors import CorruptArtifact
from tasks.training.resumable import newest_stored


def folder_of(path, **files: bytes):
    path.mkdir(parents=True)
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


@pytest.fixture
def kept(place, tmp_path):
    """Three, which share a file."""
    checkpoints = StoredCheckpoints(place.blobs(), "sft/aa")
    for step in (5, 10, 15):
        checkpoints.keep(folder_of(tmp_path / str(step), weights=b"%d" % step, config=b"same"), f"{step:09d}")
    return checkpoints


def test_the_newest_comes_back_whole(kept, tmp_path):
    assert kept.names() == ["000000005", "000000010", "000000015"]
    kept.fetch(kept.names()[-1], tmp_path / "back")
    assert {file.name: file.read_bytes() for file in (tmp_path / "back").iterdir()} == {
        "weights": b"15",
        "config": b"same",
    }


def test_old_ones_are_dropped_and_what_the_others_share_stays(kept, tmp_path):
    kept.drop(keep=2)
    assert kept.names() == ["000000010", "000000015"]
    kept.fetch("000000010", tmp_path / "back")
    assert len(kept.blobs.list(kept.root)) == 2 + 3
    kept.drop()
    assert kept.blobs.list("") == {}


def test_one_cut_off_before_its_marker_is_not_listed_and_is_cleared_away(kept, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(kept.blobs, "create", lambda *_: (_ for _ in ()).throw(InterruptedError()))
        with pytest.raises(InterruptedError):
            kept.keep(folder_of(tmp_path / "cut", weights=b"cut"), "000000020")
    assert kept.names()[-1] == "000000015"
    kept.drop(keep=3)
    assert len(kept.blobs.list(kept.root)) == 3 + 4 and len(kept.names()) == 3


def test_one_that_another_holder_drops_meanwhile_is_not_missed(kept, monkeypatch):
    """Two may hold a lease: the markers that one has listed, the other may have deleted."""
    names = kept.names()
    kept.blobs.delete(f"{kept.root}/{names[1]}.json")
    monkeypatch.setattr(kept, "names", lambda: names)
    kept.drop(keep=2)
    assert [path for path in kept.blobs.list(kept.root) if path.endswith(".json")] == [f"{kept.root}/{names[2]}.json"]
    assert len(kept.blobs.list(kept.root)) == 1 + 2


def test_a_damaged_one_is_named_and_not_used(kept, tmp_path):
    (path,) = [path for path in kept.blobs.list(kept.root) if kept.blobs.read(path) == b"15"]
    kept.blobs.delete(path)
    kept.blobs.create(path, b"51")
    with pytest.raises(CorruptArtifact, match=r"_checkpoints/sft/aa/data/.*: damaged"):
        kept.fetch("000000015", tmp_path / "back")


def test_addresses_do_not_see_each_other(kept, place):
    assert (
        StoredCheckpoints(place.blobs(), "sft/aabb").names()
        == StoredCheckpoints(place.blobs(), "wrpo/aa").names()
        == []
    )


def test_a_training_goes_on_from_the_newest_that_lacks_nothing(kept, tmp_path):
    """Whoever else held the lease may have cleared away bytes that had no marker yet."""
    (path,) = [path for path in kept.blobs.list(kept.root) if kept.blobs.read(path) == b"15"]
    kept.blobs.delete(path)
    run = SimpleNamespace(scratch=tmp_path / "scratch")
    assert newest_stored(run, kept).name == "000000010"
    for name in kept.names():
        kept.blobs.delete(f"{kept.root}/{name}.json")
    assert newest_stored(run, kept) is None


def damage(kept, data: bytes) -> None:
    (path,) = [path for path in kept.blobs.list(kept.root) if kept.blobs.read(path) == data]
    kept.blobs.delete(path)
    kept.blobs.create(path, data[::-1])


def test_a_damaged_one_is_passed_over_said_and_made_anew(kept, tmp_path):
    """Its bytes go too: a file of the same name and size would be taken for the same."""
    damage(kept, b"15")
    said, counted = [], {}
    run = SimpleNamespace(scratch=tmp_path / "scratch", step="s", observe=lambda *seen: said.append(seen))
    run.count = counted.update
    assert newest_stored(run, kept).name == "000000010"
    assert counted == {"damaged_checkpoints": 1} and kept.names() == ["000000005", "000000010"]
    assert "damaged; the training resumes from the older checkpoint 000000010" in said[0][1]
    kept.keep(folder_of(tmp_path / "again", weights=b"15", config=b"same"), "000000015")
    assert kept.problem("000000015") is None


def test_where_all_are_damaged_nothing_is_begun_anew_unasked(kept, tmp_path):
    damage(kept, b"same")
    with pytest.raises(CorruptArtifact, match="damaged"):
        newest_stored(SimpleNamespace(scratch=tmp_path / "scratch", step=None), kept)
    assert len(kept.names()) == 3
