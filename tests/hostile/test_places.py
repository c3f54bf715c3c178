"""Where a store or a workspace cannot be: said in a line by every command that asks, code 2, and nothing waits for ever."""

import os
import subprocess

import pytest

from infra.blobs import Blobs
from infra.errors import BadInput
from tests.hostile.said import refused

ASKING = [("plan", "demo"), ("verify", "demo"), ("show", "demo"), ("report", "demo"), ("gc", "--keep", "demo")]
EVERY = pytest.mark.parametrize("words", ASKING, ids=" ".join)


def looped(folder):
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def dangling(folder):
    (folder / "link").symlink_to(folder / "nowhere")
    return folder / "link"


def beneath_a_file(folder):
    (folder / "file").write_text("")
    return folder / "file" / "store"


PLACES = {"a loop": looped, "a link to nothing": dangling, "below a file": beneath_a_file, "long": lambda _: "x" * 5000}


@EVERY
@pytest.mark.parametrize("name", PLACES)
def test_what_can_be_no_folder_is_no_store_and_no_workspace(name, words, tmp_path, workplace, capsys, monkeypatch):
    place = str(PLACES[name](tmp_path))
    monkeypatch.setenv("FUSE_STORE", place)
    assert place[:200] in refused(capsys, *words)
    monkeypatch.delenv("FUSE_STORE")
    monkeypatch.setenv("FUSE_WORKSPACE", place)
    assert place[:200] in refused(capsys, *words)


ADDRESSES = ["file://key:very-secret@host/x", "~nobody-of-this-name/x/..", "a\nb", "a\x1b[2J", "\udcff"]


@pytest.mark.parametrize("address", ADDRESSES, ids=repr)
def test_an_address_that_is_none_is_refused_and_no_password_repeated(address, workplace, capsys, monkeypatch):
    monkeypatch.setenv("FUSE_STORE", address)
    if not address.startswith("~"):
        assert "the store's address must be" in refused(capsys, "plan", "demo")
    else:
        assert Blobs(address).url == address  # a name that the shell would have left as it is


@pytest.mark.parametrize("name", ["WORKSPACE", "VLLM"])
@pytest.mark.parametrize("value", ["", "a\nb", "\udcff"], ids=repr)
def test_a_folder_must_have_a_name(name, value, workplace, capsys, monkeypatch):
    monkeypatch.setenv(f"FUSE_{name}", value)
    assert f"FUSE_{name}: " in refused(capsys, "plan", "demo")


CONFIGURED = {
    "AWS_ENDPOINT_URL": "nonsense",
    "AWS_DEFAULT_REGION": "not a region\n",
    "AWS_PROFILE": "no-such-profile",
    "AWS_CONFIG_FILE": "{tmp}/config",
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_an_unreachable_bucket_is_reported_in_one_line(name, tmp_path, workplace, capsys, monkeypatch):
    from infra.bucket import _session

    _session.cache_clear()
    (tmp_path / "config").write_bytes(b"[default\n\xff")
    given = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
    }
    for variable, value in (given | {name: CONFIGURED[name].format(tmp=tmp_path)}).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("FUSE_STORE", "s3://bucket/x")
    assert "very-secret" not in refused(capsys, "plan", "demo")
    _session.cache_clear()


@pytest.fixture
def read_only(tmp_path):
    place = tmp_path / "read-only"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("words", [("run", "demo"), ("gc", "--keep", "demo")], ids=" ".join)
def test_a_place_that_cannot_be_written_is_named(words, read_only, workplace, capsys, monkeypatch):
    monkeypatch.setenv("FUSE_STORE", str(read_only / "store"))
    said = refused(capsys, *words)
    assert str(read_only) in said and "Read-only file system" in said


def test_a_workspace_that_cannot_be_written_is_named(read_only, workplace, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FUSE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("FUSE_WORKSPACE", str(read_only / "space"))
    said = refused(capsys, "run", "demo")
    assert str(read_only) in said and "Read-only file system" in said


def strange(store):
    """Links that go round, a pipe, names with line ends and without letters, a folder where a manifest should be."""
    for stage in ("model", "report"):
        (store / stage / ("a" * 40) / "MANIFEST.json").mkdir(parents=True)
        (store / stage / "loop").symlink_to(store / stage / "loop")
        (store / stage / "a\nb").write_text("")
        (store / stage / os.fsdecode(b"\xff\x1b[2J")).write_text("")
        os.mkfifo(store / stage / "pipe")


@EVERY
def test_strange_things_in_a_store_are_passed_over(words, tmp_path, workplace, capsys, monkeypatch):
    from flows.cli import main as cli

    strange(tmp_path / "store")
    monkeypatch.setenv("FUSE_STORE", str(tmp_path / "store"))
    if words[0] in ("show", "report"):
        assert "is not in the store yet" in refused(capsys, *words)
    else:
        assert cli.main(list(words)) == 0


def test_a_pipe_in_place_of_a_file_is_named_and_not_waited_for(tmp_path):
    blobs = Blobs(str(tmp_path / "store"))
    (tmp_path / "store" / "model").mkdir(parents=True)
    os.mkfifo(tmp_path / "store" / "model" / "pipe")
    for use in (blobs.read, blobs.digest, blobs.local, lambda path: blobs.get_file(path, tmp_path / "copy")):
        with pytest.raises(BadInput, match="model/pipe: is not a file"):
            use("model/pipe")
        with pytest.raises(BadInput, match="model: is not a file"):
            use("model")
