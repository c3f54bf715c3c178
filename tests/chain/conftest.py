"""What the tests of a chain stand on: a workspace in which the small recipe has run, a Prefect server, an S3 server."""

import shutil

import pytest

from infra.prefect_server import local_server
from tests.chain.small import fuse, write_recipe
from tests.infra.seaweed import seaweed

__all__ = ["seaweed"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A workspace in which the small recipe has run once."""
    folder = tmp_path_factory.mktemp("chain")
    recipe = write_recipe(folder)
    answer = fuse(folder / "space", "run", str(recipe))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return folder / "space", recipe, answer.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Prefect server as a user may have one; `done` starts one of its own instead."""
    with local_server(tmp_path_factory.mktemp("prefect")) as address:
        yield {"PREFECT_API_URL": address}


@pytest.fixture
def copied(done, tmp_path):
    """The same, to be spoilt."""
    shutil.copytree(done[0] / "store", tmp_path / "space" / "store")
    return tmp_path / "space", done[1]
