"""How a stack is reached: the file that a shell sources, its keys, and a store of the user's own."""

import os
import subprocess

import pytest

from flows.deploy.stack import wait_until_ready
from flows.deploy.stack_keeper import own_environment, write_state
from infra.errors import BadInput
from infra.settings import settings


@pytest.fixture
def chosen(monkeypatch):
    monkeypatch.delenv("FUSE_STORE", raising=False)

    def choose(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    yield choose
    settings.cache_clear()


def sourced(folder, name: str) -> str:
    words = ["sh", "-c", f'. {folder}/environment; printf %s "${name}"']
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_keys_stay_the_same_from_one_start_to_the_next(tmp_path, chosen):
    chosen()
    first = own_environment(tmp_path)
    assert own_environment(tmp_path) == first and len(first["AWS_SECRET_ACCESS_KEY"]) > 30
    assert sourced(tmp_path, "AWS_SECRET_ACCESS_KEY") == first["AWS_SECRET_ACCESS_KEY"]
    assert (tmp_path / "environment").stat().st_mode & 0o777 == 0o600


def test_a_users_own_store_is_the_same_from_another_folder(tmp_path, chosen, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen(FUSE_STORE="my store")
    own_environment(tmp_path)
    assert sourced(tmp_path, "FUSE_STORE") == os.path.join(tmp_path, "my store")
    chosen(FUSE_STORE="s3://bucket/prefix")
    own_environment(tmp_path)
    assert sourced(tmp_path, "FUSE_STORE") == "s3://bucket/prefix"


def test_who_waits_for_a_stack_is_told_at_once_that_its_keeper_is_gone(tmp_path):
    write_state(tmp_path, ready=False)
    with pytest.raises(BadInput, match="was stopped while it started"):
        wait_until_ready(tmp_path)
    write_state(tmp_path, ready=False, problem="prefect did not start")
    with pytest.raises(BadInput, match="prefect did not start"):
        wait_until_ready(tmp_path)
