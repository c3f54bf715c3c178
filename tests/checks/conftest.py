"""The sandboxes that this machine has, for tests that judge by them."""

import shutil

import pytest

from infra.errors import BadInput
from tasks.checks import sandbox


@pytest.fixture(scope="module")
def box():
    try:
        found = sandbox.find()
    except BadInput as problem:
        pytest.skip(str(problem))
    with found:
        yield found


@pytest.fixture(scope="module", params=sandbox.MEANS)
def means(request):
    """Each sandbox in its turn, by name."""
    if request.param == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    with sandbox.Sandbox(request.param) as box:
        if weakness := box.weakness():
            pytest.skip(f"this machine has no sandbox by {request.param}: {weakness}")
    return request.param
