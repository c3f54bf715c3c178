import hashlib
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from infra.errors import BadInput, CorruptArtifact
from infra.manifest import ArtifactReference, FileEntry, Manifest
from infra.store import Store
from tests.patience import STILL

fork = multiprocessing.get_context("fork")


def draft(fingerprint: str = "abc123", **changes) -> Manifest:
    fields = {
        "stage": "score_responses",
        "version": "1",
        "fingerprint": fingerprint,
        "label": "a label",
        "what": {"beta": 0.1, "sources": ["a", "b"]},
        "inputs": {"responses": [ArtifactReference(stage="sample_responses", fingerprint="ff")]},
        "files": (),
        "counts": {"rows": 3, "mean": 0.5, "kind": "text"},
        "provenance": {"seed": 7},
        "started": "2026-01-01T00:00:00Z",
        "seconds": 1.5,
        "attempt": "one",
    }
    return Manifest(**fields | changes)


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def stored_bytes(place, path: str, data: bytes | None) -> None:
    """Replace or remove stored bytes behind the store's back."""
    place.blobs().delete(path)
    if data is not None:
        place.blobs().create(path, data)


def test_a_published_artifact_is_found_listed_and_fetched_under_its_names(place, tmp_path):
    files = {"scores.parquet": b"rows", "model/config.json": b"{}", "empty": b""}
    store = place.store()
    assert store.manifest("score_responses", "abc123") is None
    published = store.publish(folder_of(tmp_path / "out", files), draft())
    assert [entry.name for entry in published.files] == ["empty", "model/config.json", "scores.parquet"]
    fresh = place.store("another")
    assert fresh.manifest("score_responses", "abc123") == published
    assert fresh.manifests("score_responses") == [published] and fresh.manifests("split") == []
    folder = fresh.fetch(published)
    assert {name: (folder / name).read_bytes() for name in files} == files
    assert fresh.verify(published) == []
    only = fresh.fetch(published, names=["model/config.json"])
    assert [path.name for path in only.rglob("*") if path.is_file()] == ["config.json"]
    assert (folder / "empty").resolve().is_relative_to(tmp_path / ("another" if place.remote else "store"))


def test_the_newest_manifests_of_a_stage_and_those_that_begin_so_are_found(place, tmp_path):
    store, out = place.store(), folder_of(tmp_path / "out", {"rows": b"1"})
    made = []
    for fingerprint in ("ab1", "ff0", "ab2", "000"):
        made.append(store.publish(out, draft(fingerprint)))
        time.sleep(1.1 if place.remote else 0.02)  # S3 tells the time in seconds
    by_name = sorted(made, key=lambda manifest: manifest.fingerprint)
    assert store.manifests("score_responses") == by_name
    assert store.manifests("score_responses", newest=2) == [made[3], made[2]]
    assert store.manifests("score_responses", "ab") == [made[0], made[2]]
    assert store.manifests("score_responses", "abc") == []


def test_the_content_digest_depends_on_names_and_bytes_alone():
    entry = FileEntry(name="a", path="x/y", sha256="0" * 64, size=1)
    moved = draft(files=(entry.model_copy(update={"path": "pools/z", "rows": 5}),), attempt="two")
    assert draft(files=(entry,)).content == moved.content
    assert moved.content == hashlib.sha256(f'[["a","{"0" * 64}"]]'.encode()).hexdigest()
    assert draft(files=(entry.model_copy(update={"name": "b"}),)).content != moved.content
    clocked = entry.model_copy(update={"name": "speed.parquet"})  # measured anew whenever the same is made
    assert draft(files=(entry, clocked)).content == moved.content


def test_the_first_of_two_publishers_wins_and_both_get_its_manifest(place, tmp_path):
    barrier, results = threading.Barrier(2), {}

    def publish(attempt: str) -> None:
        out = folder_of(tmp_path / attempt, {"data": attempt.encode()})
        store = place.store()
        store.manifest("score_responses", "abc123")
        barrier.wait()
        results[attempt] = store.publish(out, draft(attempt=attempt))

    threads = [threading.Thread(target=publish, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["one"] == results["two"] == place.store().manifest("score_responses", "abc123")
    winner = results["one"]
    assert (place.store("after").fetch(winner) / "data").read_text() == winner.attempt
    assert place.store().publish(tmp_path / "one", draft(attempt="three")) == winner


def test_a_publisher_that_finds_no_manifest_at_first_still_yields_to_one(place, tmp_path, monkeypatch):
    store, out = place.store(), folder_of(tmp_path / "out", {"data": b"1"})
    put_file = store.blobs.put_file

    def other_is_quicker(local: Path, path: str) -> None:
        put_file(local, path)
        place.store().publish(folder_of(tmp_path / "other", {"data": b"2"}), draft(attempt="other"))

    monkeypatch.setattr(store.blobs, "put_file", other_is_quicker)
    assert store.publish(out, draft()).attempt == "other"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda data: bytes([data[0] ^ 1]) + data[1:], r"sha256 [0-9a-f]{12}… expected, [0-9a-f]{12}… found"),
        (lambda data: data[:-1], "9 bytes expected, 8 found"),
        (lambda data: None, "missing"),
    ],
    ids=["flipped", "truncated", "missing"],
)
def test_damaged_bytes_are_named_before_use(place, tmp_path, damage, problem):
    store = place.store()
    manifest = store.publish(folder_of(tmp_path / "out", {"fine": b"fine", "rows": b"some rows"}), draft())
    path = manifest.files[1].path
    store.fetch(manifest, names=["fine"])
    stored_bytes(place, path, damage(b"some rows"))
    with pytest.raises(CorruptArtifact, match=f"^{place.url}/{path}: {problem}$"):
        store.fetch(manifest)
    assert len(store.verify(manifest)) == 1 and path in store.verify(manifest)[0]
    assert store.fetch(manifest, names=["fine"]).is_dir()


def test_bytes_that_change_after_a_fetch_are_noticed_by_the_next(tmp_path):
    store = Store(str(tmp_path / "store"), tmp_path / "cache")
    manifest = store.publish(folder_of(tmp_path / "out", {"rows": b"some rows"}), draft())
    file = (store.fetch(manifest) / "rows").resolve()
    assert not file.stat().st_mode & 0o222, "a program could write into the store through the link"
    file.chmod(0o644)
    time.sleep(0.02)  # some kernels count file times in ticks of 4 ms
    file.write_bytes(b"same rowz")
    with pytest.raises(CorruptArtifact):
        store.fetch(manifest)


def test_the_cache_saves_downloads_and_a_spoilt_copy_in_it_is_replaced(seaweed, tmp_path, monkeypatch):
    store = Store(f"{seaweed.url}/cached", tmp_path / "cache", seaweed.options())
    manifest = store.publish(folder_of(tmp_path / "out", {"rows": b"some rows"}), draft())
    get_file, downloads = store.blobs.get_file, []

    def counted(path: str, local: Path) -> None:
        downloads.append(path)
        get_file(path, local)

    monkeypatch.setattr(store.blobs, "get_file", counted)
    copy = (store.fetch(manifest) / "rows").resolve()
    store.fetch(manifest)
    assert len(downloads) == 1
    copy.chmod(0o644)
    time.sleep(0.02)
    copy.write_bytes(b"some rowz")
    assert (store.fetch(manifest) / "rows").read_bytes() == b"some rows"
    assert len(downloads) == 2


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda raw: raw.replace(b'"seed": 7', b'"seed": 5'), "its digest does not match its fields"),
        (lambda raw: raw.replace(b'"digest": "', b'"digest": "0'), "its digest does not match its fields"),
        (lambda raw: raw[: len(raw) // 2], "not a valid manifest"),
        (lambda raw: raw.replace(b'"seconds"', b'"secondz"'), "not a valid manifest"),
        (lambda raw: b"[]", "not a JSON object"),
        (lambda raw: draft("aa").render(), "is the manifest of score_responses/aa"),
    ],
    ids=["flipped", "digest", "cut", "field", "list", "elsewhere"],
)
def test_a_damaged_manifest_is_named_and_never_half_read(place, tmp_path, damage, reason):
    store, path = place.store(), "score_responses/bb/MANIFEST.json"
    good = store.publish(folder_of(tmp_path / "out", {"rows": b"1"}), draft("aa"))
    store.publish(tmp_path / "out", draft("bb"))
    stored_bytes(place, path, damage(store.blobs.read(path)))
    with pytest.raises(CorruptArtifact, match=f"^{place.url}/{path}: .*{reason}") as error:
        store.manifest("score_responses", "bb")
    assert "\n" not in str(error.value)
    assert store.manifests("score_responses") == [good]


def test_a_value_that_json_cannot_hold_fails_before_any_upload(place, tmp_path):
    out = folder_of(tmp_path / "out", {"rows": b"1"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        place.store().publish(out, draft(counts={"loss": float("nan")}))
    assert place.blobs().list("") == {}


def test_odd_but_legal_values_survive_the_manifest(place, tmp_path):
    odd = {"é": {10: 1, 9: 2}, "path": Path("x"), "tuple": (1, 2), "large": 2**70, "tiny": 1e-300}
    store = place.store()
    published = store.publish(folder_of(tmp_path / "out", {"a file é": b"1"}), draft(provenance=odd))
    assert store.manifest("score_responses", "abc123") == published
    assert store.fetch(published).joinpath("a file é").read_bytes() == b"1"


def test_pool_parts_are_kept_once_and_found_by_listing_alone(place, tmp_path):
    store = place.store()
    assert store.parts("llama/greedy") == []
    files = folder_of(tmp_path, {"one": b"first part", "two": b"second"})
    entries = [store.append("llama/greedy", files / "one", 3), store.append("llama/greedy", files / "two", 5)]
    assert store.append("llama/greedy", files / "one", 3) == entries[0]
    store.append("llama", files / "one", 3)
    store.append("llama/greedy/deeper", files / "one", 3)
    stored_bytes(place, "pools/llama/greedy/notes.txt", b"not a part")
    stored_bytes(place, f"pools/llama/greedy/{'0' * 64}-1.parquet", b"")
    assert place.store().parts("llama/greedy") == sorted(entries, key=lambda entry: entry.name)
    assert [entry.rows for entry in sorted(entries, key=lambda entry: entry.size)] == [5, 3]
    assert place.store("new").fetch_part(entries[0]).read_bytes() == b"first part"
    stored_bytes(place, entries[1].path, b"secand")
    with pytest.raises(CorruptArtifact, match=entries[1].path):
        place.store("new").fetch_part(entries[1])


def test_many_parts_come_in_order_and_no_damaged_one(place, tmp_path, monkeypatch):
    monkeypatch.setattr("infra.store.REQUESTS", 2)  # eight at a time
    files = folder_of(tmp_path, {f"{number}": f"part {number}".encode() for number in range(19)})
    asked = [place.store().append("llama/greedy", files / f"{number}", number + 1) for number in range(19)]
    found = [(entry, file.read_bytes()) for entry, file in place.store("new").fetch_parts(asked)]
    assert found == [(entry, f"part {number}".encode()) for number, entry in enumerate(asked)]
    stored_bytes(place, asked[10].path, b"pArt 10")
    with pytest.raises(CorruptArtifact, match=asked[10].path):
        list(place.store("another").fetch_parts(asked))


def test_a_manifest_may_name_files_that_lie_in_pools(place, tmp_path):
    store = place.store()
    part = store.append("llama", folder_of(tmp_path, {"one": b"part"}) / "one", 3)
    named = part.model_copy(update={"name": "parts/0.parquet"})
    published = store.publish(folder_of(tmp_path / "out", {"summary": b"s"}), draft(files=(named,)))
    assert [(entry.name, entry.rows) for entry in published.files] == [("parts/0.parquet", 3), ("summary", None)]
    assert (store.fetch(published) / "parts/0.parquet").read_bytes() == b"part"
    with pytest.raises(ValueError, match="in the folder and in a pool"):
        store.publish(folder_of(tmp_path / "bad", {"parts/0.parquet": b"s"}), draft("dd", files=(named,)))


@pytest.mark.parametrize("stage", ["../x", "Stage", "", "a//b", "_leases", "pools", "/a", "pools/a"])
def test_names_of_stages_pools_and_fingerprints_cannot_leave_their_place(tmp_path, stage):
    store = Store(str(tmp_path / "store"), tmp_path / "cache")
    with pytest.raises(BadInput):
        store.manifest(stage, "aa")
    for fingerprint in ("../../aa", "not hexadecimal", ""):
        with pytest.raises(BadInput, match="is not a fingerprint"):
            store.manifest("stage", fingerprint)
    with pytest.raises(BadInput):
        store.parts("../score_responses")
    with pytest.raises(ValueError):
        FileEntry(name="../outside", path="a", sha256="", size=0)
    with pytest.raises(ValueError):
        FileEntry(name="a", path="/etc/passwd", sha256="", size=0)


def publish_for_ever(place, number: int, started) -> None:
    out = place.scratch / f"out-{number}"
    store = place.store()
    for turn in range(10_000):
        files = {f"shard-{index}": os.urandom(200_000) for index in range(3)}
        folder_of(out, files)
        for name in files:
            store.append("pool", out / name, rows=1)
        store.publish(out, draft(f"{number:04x}{turn:04x}", attempt=str(turn)))
        started.set()


def test_a_kill_at_any_moment_leaves_an_artifact_whole_or_absent(place):
    """Kills at random moments, seed fixed; on a slow machine more of them, until one has hit an unfinished artifact."""
    moments, unfinished, finished = random.Random(1), 0, 0
    store, least = place.store("reader"), 5 if place.remote else 20
    for number in range(10 * least):
        started = fork.Event()
        child = fork.Process(target=publish_for_ever, args=(place, number, started))
        child.start()
        assert started.wait(STILL)
        time.sleep(moments.uniform(0, 0.6 if place.remote else 0.15))
        child.kill()
        child.join()
        touched = {path.split("/")[1] for path in store.blobs.list("score_responses")}
        made = {fingerprint: store.manifest("score_responses", fingerprint) for fingerprint in touched}
        unfinished = sum(manifest is None for manifest in made.values())
        if number + 1 >= least and unfinished:
            break
    for manifest in filter(None, made.values()):
        finished += 1
        assert len(manifest.files) == 3 and store.verify(manifest) == []
    assert finished and unfinished
    for part in store.parts("pool"):
        assert store.fetch_part(part).stat().st_size == 200_000


def test_the_room_is_light_to_import():
    heavy = {"fsspec", "s3fs", "botocore", "prefect", "torch"}
    code = f"import sys, infra.store, infra.lease; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_damaged_object_is_put_back_from_a_cache_that_has_it_whole(place, tmp_path):
    store = place.store()
    published = store.publish(folder_of(tmp_path / "out", {"a": b"whole"}), draft())
    (entry,) = published.files
    store.fetch(published)
    for bad in (b"whale", b"who", None):
        stored_bytes(place, entry.path, bad)
        assert store.problem(entry) is not None
        assert store.restore(entry) == place.remote  # a folder's bytes are used where they lie: there is no second copy
        assert (store.problem(entry) is None) == place.remote
    if place.remote:
        (store.cache / "objects" / entry.path).chmod(0o644)
        (store.cache / "objects" / entry.path).write_bytes(b"rotten")
        stored_bytes(place, entry.path, b"whale")
        assert not store.restore(entry)


def test_what_is_discarded_did_not_happen_and_leaves_nothing(place, tmp_path):
    store = place.store()
    store.publish(folder_of(tmp_path / "out", {"a": b"1", "b/c": b"2"}), draft("abc1"))
    kept = store.publish(folder_of(tmp_path / "out", {}), draft("abc2"))
    store.discard("score_responses", "abc1")
    assert store.manifests("score_responses") == [kept]
    assert not store.blobs.list("score_responses/abc1")
    assert store.publish(folder_of(tmp_path / "out", {}), draft("abc1", attempt="two")).attempt == "two"
