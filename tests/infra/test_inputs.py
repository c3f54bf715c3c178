"""A user's file by URL, from a real S3 server: fetched once, again when the object has changed, complaints in one line."""

from types import SimpleNamespace

import pytest
import s3fs

import infra.inputs
from infra.errors import BadInput
from infra.inputs import local_files
from tests.infra.seaweed import BUCKET


@pytest.fixture
def bucket(seaweed, tmp_path, monkeypatch):
    """Writes to the server; the environment names the server and a reader's key, as a user's does."""
    monkeypatch.setattr(infra.inputs, "settings", lambda: SimpleNamespace(workspace=tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "viewer")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "viewer-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3fs.S3FileSystem(**seaweed.options(), config_kwargs={"s3": {"addressing_style": "path"}})
    s3fs.S3FileSystem.clear_instance_cache()


def test_an_object_is_fetched_once_and_again_when_it_has_changed(bucket):
    bucket.pipe_file(f"{BUCKET}/prompts.jsonl", b"one")
    (first,) = local_files("prompts.path", f"s3://{BUCKET}/prompts.jsonl")
    touched = first.stat().st_mtime_ns
    (again,) = local_files("prompts.path", f"s3://{BUCKET}/prompts.jsonl")
    assert (first.read_bytes(), first.name, again, again.stat().st_mtime_ns) == (
        b"one",
        "prompts.jsonl",
        first,
        touched,
    )
    bucket.pipe_file(f"{BUCKET}/prompts.jsonl", b"two")
    assert local_files("prompts.path", f"s3://{BUCKET}/prompts.jsonl")[0].read_bytes() == b"two"


def test_what_cannot_be_read_is_said_in_one_line(bucket, monkeypatch):
    with pytest.raises(BadInput, match=rf"^prompts.path: there is no object 's3://{BUCKET}/none'"):
        local_files("prompts.path", f"s3://{BUCKET}/none")
    bucket.pipe_file(f"{BUCKET}/some", b"one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(BadInput, match=r"^prompts.path: .* cannot be read: ") as problem:
        local_files("prompts.path", f"s3://{BUCKET}/some")
    assert "\n" not in str(problem.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(BadInput, match="cannot be read"):
        local_files("prompts.path", f"s3://{BUCKET}/some")


def test_a_folder_and_a_pattern_are_objects_in_name_order(bucket):
    for name in ("b.jsonl", "a.jsonl", "_SUCCESS", ".part.jsonl", "deep/c.jsonl"):
        bucket.pipe_file(f"{BUCKET}/shards/{name}", name.encode())
    read = lambda location: [file.read_bytes().decode() for file in local_files("prompts.path", location)]
    assert read(f"s3://{BUCKET}/shards") == read(f"s3://{BUCKET}/shards/") == ["a.jsonl", "b.jsonl"]
    assert read(f"s3://{BUCKET}/shards/*.jsonl") == ["a.jsonl", "b.jsonl"]
    assert read(f"s3://{BUCKET}/sh*/**/*.jsonl") == ["a.jsonl", "b.jsonl", "deep/c.jsonl"]
    for location in (f"s3://{BUCKET}/shards/*.parquet", f"s3://{BUCKET}/none/*.jsonl"):
        with pytest.raises(BadInput, match=r"^prompts.path: no file matches 's3://"):
            local_files("prompts.path", location)


def test_a_listing_that_is_refused_is_no_empty_one(bucket, monkeypatch):
    bucket.pipe_file(f"{BUCKET}/shards/a.jsonl", b"one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    for location in (f"s3://{BUCKET}/shards/*.jsonl", f"s3://{BUCKET}/shards"):
        with pytest.raises(BadInput, match=r"^prompts.path: .* cannot be read: "):
            local_files("prompts.path", location)


def test_a_name_that_is_there_is_itself_and_no_pattern(tmp_path):
    (tmp_path / "a[1].jsonl").touch()
    (tmp_path / "a1.jsonl").touch()
    assert [file.name for file in local_files("path", str(tmp_path / "a[1].jsonl"))] == ["a[1].jsonl"]
    assert [file.name for file in local_files("path", str(tmp_path / "a[0-9].jsonl"))] == ["a1.jsonl"]


@pytest.mark.parametrize("location", ["", "a\0*", "x" * 5000, "*" * 5000, "/dev/null", "empty", "no*"])
def test_a_name_of_nothing_is_refused(tmp_path, monkeypatch, location):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_SUCCESS").touch()
    with pytest.raises(BadInput, match=r"^path: (there is no file|no file matches)"):
        local_files("path", location)


def test_a_link_to_nothing_is_no_file_that_a_set_could_do_without(tmp_path):
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "gone")
    for location in (tmp_path, tmp_path / "*.jsonl"):
        with pytest.raises(BadInput, match=r"^prompts.path: '.*b.jsonl' is a broken link: its target does not exist$"):
            local_files("prompts.path", str(location))
