"""A user's file by URL, from a real S3 server: fetched once, again when the object has changed, complaints in one line."""

from types import SimpleNamespace

import pytest
import s3fs

import infra.inputs
from infra.errors import BadInput
from infra.inputs import local_file
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
    first = local_file("prompts.path", f"s3://{BUCKET}/prompts.jsonl")
    touched = first.stat().st_mtime_ns
    again = local_file("prompts.path", f"s3://{BUCKET}/prompts.jsonl")
    assert (first.read_bytes(), first.name, again, again.stat().st_mtime_ns) == (
        b"one",
        "prompts.jsonl",
        first,
        touched,
    )
    bucket.pipe_file(f"{BUCKET}/prompts.jsonl", b"two")
    assert local_file("prompts.path", f"s3://{BUCKET}/prompts.jsonl").read_bytes() == b"two"


def test_what_cannot_be_read_is_said_in_one_line(bucket, monkeypatch):
    with pytest.raises(BadInput, match=rf"^prompts.path: there is no object 's3://{BUCKET}/none'"):
        local_file("prompts.path", f"s3://{BUCKET}/none")
    bucket.pipe_file(f"{BUCKET}/some", b"one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(BadInput, match=r"^prompts.path: .* cannot be read: ") as problem:
        local_file("prompts.path", f"s3://{BUCKET}/some")
    assert "\n" not in str(problem.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(BadInput, match="cannot be read"):
        local_file("prompts.path", f"s3://{BUCKET}/some")
