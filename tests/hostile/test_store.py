"""A store, settings and addresses that somebody has spoilt: refused, and nothing outside of the store read or removed."""

import pytest

from infra.blobs import Blobs
from infra.errors import BadInput, CorruptArtifact
from infra.store import Store
from tests.hostile.said import refused
from tests.infra.test_store import draft, folder_of


@pytest.fixture
def store(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    return Store(str(tmp_path / "store"), tmp_path / "cache")


def test_links_do_not_lead_out_of_the_store(store, tmp_path):
    """Not a file, not a folder, not one on the way: nothing behind a link is read, listed, written or removed."""
    root = tmp_path / "store"
    root.mkdir()
    (root / "file").symlink_to(tmp_path / "outside" / "secret")
    (root / "folder").symlink_to(tmp_path / "outside")
    blobs = store.blobs
    for path in ("file", "folder/secret", "folder/new"):
        for use in (
            blobs.read,
            blobs.digest,
            blobs.local,
            blobs.delete,
            lambda path: blobs.create(path, b"x"),
            lambda path: blobs.put_file(tmp_path / "outside" / "secret", path),
            lambda path: blobs.get_file(path, tmp_path / "copy"),
            lambda path: blobs.compare_and_swap(path, b"secret", b"x"),
        ):
            with pytest.raises(BadInput, match="leads out of the store"):
                use(path)
    with pytest.raises(BadInput, match="leads out of the store"):
        blobs.list("folder")
    assert "folder/secret" not in blobs.list("")
    assert [file.name for file in (tmp_path / "outside").iterdir()] == ["secret"]
    assert (tmp_path / "outside" / "secret").read_text() == "secret"


def test_a_store_may_itself_be_reached_by_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    blobs = Blobs(str(tmp_path / "store"))
    assert blobs.create("a/b", b"1") and blobs.read("a/b") == b"1" and blobs.list("") == {"a/b": 1}


def test_a_linked_artifact_is_not_taken_for_one_of_ours(store, tmp_path):
    made = store.publish(folder_of(tmp_path / "out", {"rows": b"some rows"}), draft())
    (tmp_path / "store" / "score_responses").rename(tmp_path / "outside" / "moved")
    (tmp_path / "store" / "score_responses").symlink_to(tmp_path / "outside" / "moved")
    for use in (lambda: store.manifest("score_responses", made.fingerprint), lambda: store.fetch(made)):
        with pytest.raises(BadInput, match="leads out of the store"):
            use()
    with pytest.raises(BadInput, match="leads out of the store"):
        store.discard("score_responses", made.fingerprint)
    assert len(list((tmp_path / "outside").rglob("*"))) > 4


MANIFESTS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'{"digest": 1}',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"files": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("raw", MANIFESTS, ids=lambda raw: repr(raw[:20]))
def test_a_manifest_that_is_none_is_named(store, raw):
    store.blobs.create("score_responses/aa/MANIFEST.json", raw)
    with pytest.raises(CorruptArtifact, match="not a valid manifest"):
        store.manifest("score_responses", "aa")


@pytest.mark.parametrize(
    "words",
    [
        ("show", "../../etc/passwd"),
        ("show", "wrpo/../../x"),
        ("show", "WRPO/aa"),
        ("show", "wrpo/zz"),
        ("show", "/aa"),
        ("verify", "wrpo/"),
        ("verify", "_leases/aa"),
        ("verify", "pools/aa"),
        ("verify", "demo", "--sample", "0"),
        ("gc", "--keep", "demo", "--days", "-1"),
        ("gc", "--keep", "demo", "--days", "nan"),
        ("gc", "--keep", "demo", "--days", "inf"),
        ("export", "demo", "--format", "trl", "--to", "/proc/version"),
    ],
    ids=" ".join,
)
def test_an_address_that_is_none_is_refused(words, workplace, capsys):
    refused(capsys, *words)


SETTINGS = [
    ("PROGRAMS", "-1"),
    ("PROGRAMS", "many"),
    ("PROGRAMS", "1e3"),
    ("PROGRAMS", "100000000000000000000"),
    ("THREADS", "-1"),
    ("THREADS", "inf"),
    ("LEASE_SECONDS", "0"),
    ("LEASE_SECONDS", "nan"),
    ("LEASE_SECONDS", "inf"),
    ("S3_PORT", "99999"),
    ("STORE", "gs://bucket/x"),
    ("STORE", "s3://"),
    ("STORE", "s3://Bucket/../x"),
    ("STORE", "/dev/null"),
    ("WORKSPACE", "/dev/null/x"),
]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_a_setting_that_cannot_be_is_refused(name, value, workplace, capsys, monkeypatch):
    monkeypatch.setenv(f"FUSE_{name}", value)
    said = refused(capsys, "plan", "demo")
    assert f"FUSE_{name}" in said or name == "STORE"


def test_a_password_in_an_address_is_not_repeated(workplace, capsys, monkeypatch):
    monkeypatch.setenv("FUSE_STORE", "s3://key:very-secret@bucket/x")
    assert "very-secret" not in refused(capsys, "plan", "demo")
