"""What is well-formed in a store and not true: refused before use, in a line, and nothing outside of its place is written."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.checkpoints import StoredCheckpoints
from infra.errors import BadInput, CorruptArtifact
from infra.lease import hold_lease
from infra.store import Store
from infra.uses import list_used
from tests.hostile.said import refused
from tests.infra.test_store import draft
from tests.test_pool import step

SHA = hashlib.sha256(b"x").hexdigest()
ENTRY = {"name": "rows", "path": "score_responses/aa/data/x/rows", "sha256": SHA, "size": 1, "rows": None}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"), tmp_path / "cache")


def signed(fields: dict) -> bytes:
    body = json.dumps(fields, sort_keys=True, indent=1).encode()
    return json.dumps(fields | {"digest": hashlib.sha256(body).hexdigest()}, sort_keys=True, indent=1).encode()


def manifest(**changes) -> bytes:
    return signed(draft("aa").model_dump(mode="json") | changes)


def files(*changes: dict) -> list[dict]:
    return [ENTRY | change for change in changes]


LIES = {
    "a name that leaves": {"files": files({"name": "../../x"})},
    "an absolute name": {"files": files({"name": "/etc/x"})},
    "a name with an escape": {"files": files({"name": "a\x1b[2J"})},
    "a path that leaves": {"files": files({"path": "../outside"})},
    "a name twice": {"files": files({}, {})},
    "a file and a folder": {"files": files({"name": "a"}, {"name": "a/b/c"})},
    "a size below nothing": {"files": files({"size": -1})},
    "a size that is text": {"files": files({"size": "1"})},
    "no sha256": {"files": files({"sha256": "x"})},
    "files that are none": {"files": {"a": 1}},
    "another field": {"extra": 1},
    "a form of old": {"format": 0},
    "a form that is true": {"format": True},
    "a count of a list": {"counts": {"rows": [1]}},
}


@pytest.mark.parametrize("name", LIES)
def test_a_manifest_that_fits_its_digest_and_lies_is_refused(name, store):
    store.blobs.create("score_responses/aa/MANIFEST.json", manifest(**LIES[name]))
    with pytest.raises(CorruptArtifact, match="not a valid manifest") as refusal:
        store.manifest("score_responses", "aa")
    assert "\n" not in str(refusal.value)


def test_a_manifest_of_a_newer_form_is_not_damaged_and_not_made_again(store, workplace, tmp_path, monkeypatch, capsys):
    store.blobs.create("model/aa/MANIFEST.json", manifest(stage="model", format=2, later="x"))
    with pytest.raises(BadInput, match="has format 2, from a newer version") as refusal:
        store.manifest("model", "aa")
    assert not isinstance(refusal.value, CorruptArtifact)
    assert store.manifests("model") == []  # others are still compared with
    monkeypatch.setenv("FUSE_STORE", str(tmp_path / "store"))
    refused(capsys, "show", "model/aa")


def test_a_manifest_with_another_size_or_place_is_found_before_use(store, tmp_path):
    store.blobs.create(ENTRY["path"], b"x")
    (tmp_path / "store" / "score_responses" / "aa" / "data" / "folder").mkdir()
    for number, change in enumerate(({"size": 2}, {"path": "score_responses/aa/data/x/gone"}, {"sha256": "0" * 64})):
        store.blobs.create(
            f"score_responses/a{number}/MANIFEST.json", manifest(fingerprint=f"a{number}", files=files(change))
        )
        found = store.manifest("score_responses", f"a{number}")
        assert len(store.verify(found)) == 1
        with pytest.raises(CorruptArtifact, match="score_responses/aa/data/x"):
            store.fetch(found)
    folder = manifest(fingerprint="a9", files=files({"path": "score_responses/aa/data/folder"}))
    store.blobs.create("score_responses/a9/MANIFEST.json", folder)
    with pytest.raises(BadInput, match="folder: is not a file"):
        store.fetch(store.manifest("score_responses", "a9"))


def test_a_manifest_of_many_files_is_read(store):
    many = [ENTRY | {"name": f"f{number:06d}"} for number in range(20_000)]
    store.blobs.create("score_responses/aa/MANIFEST.json", manifest(files=many))
    assert len(store.manifest("score_responses", "aa").files) == 20_000


def marker(**files: dict) -> bytes:
    body = {"files": files}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps(body | {"digest": digest}, sort_keys=True, indent=1).encode()


FILE = {"path": "_checkpoints/sft/aa/data/x/weights", "size": 1, "sha256": SHA}
MARKERS = {
    "nothing": b"",
    "a list": b"[]",
    "no files": b"{}",
    "deep": b"[" * 100_000,
    "a name that leaves": marker(**{"../../x": FILE}),
    "an absolute name": marker(**{"/tmp/x": FILE}),
    "a path that leaves": marker(weights=FILE | {"path": "../outside"}),
    "no digest": json.dumps({"files": {"weights": FILE}}).encode(),
    "another digest": marker(weights=FILE).replace(b'"size": 1', b'"size": 2'),
}


@pytest.mark.parametrize("name", MARKERS)
def test_a_checkpoint_that_is_none_is_refused_and_writes_nothing(name, store, tmp_path):
    checkpoints = StoredCheckpoints(store.blobs, "sft/aa")
    store.blobs.create(FILE["path"], b"x")
    store.blobs.create("_checkpoints/sft/aa/000000001.json", MARKERS[name])
    with pytest.raises(CorruptArtifact, match=r"000000001\.json: not a valid checkpoint") as refusal:
        checkpoints.fetch("000000001", tmp_path / "scratch" / "resume" / "1")
    assert "\n" not in str(refusal.value) and not (tmp_path / "scratch").exists() and not (tmp_path / "x").exists()
    assert "not a valid checkpoint" in checkpoints.problem("000000001")
    checkpoints.drop(keep=2)  # what is made now is kept all the same


PARTS = {
    "text": (lambda file: file.write_bytes(b"PAR1 no table PAR1"), "not a Parquet file"),
    "other columns": (
        lambda file: pq.write_table(pa.table({"other": [1]}), file),
        "lacks the columns number",
    ),
    "other types": (
        lambda file: pq.write_table(pa.table({"number": ["1"], "square": ["1"], "tokens": ["1"]}), file),
        "its columns differ from those of",
    ),
    "more rows": (
        lambda file: pq.write_table(pa.table({"number": [8, 9], "square": [64, 81], "tokens": [1, 1]}), file),
        "has 2 rows, but 1 according to its name",
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_holds_no_rows_of_its_pool_is_named(name, workplace, tmp_path):
    write, message = PARTS[name]
    workplace.made(step(1, 2))
    write(tmp_path / "part.parquet")
    foreign = workplace.store.append(step(1, 2).pool, tmp_path / "part.parquet", 1)
    with pytest.raises(BadInput, match=message) as refusal:
        workplace.made(step(1, 2, 3))
    assert foreign.path in str(refusal.value) or name == "other types"
    assert "\n" not in str(refusal.value) and "; delete th" in str(refusal.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[1]", b"[" * 100_000, b"\xff"], ids=["nothing", "object", "number", "deep", "no text"]
)
def test_what_flows_are_said_to_use_must_be_readable_or_nothing_is_swept(raw, store):
    store.blobs.create("_uses/aa.json", raw)
    with (
        hold_lease(store.blobs, "uses/aa"),
        pytest.raises(BadInput, match=r"_uses/aa\.json: not a valid record of a flow"),
    ):
        list_used(store.blobs, 0.0)
