"""The sandbox that this machine has, for tests that judge by it."""

import pytest

from infra.errors import BadInput
from tasks.checks.sandbox import outside as sandbox


@pytest.fixture(scope="module")
def box():
    try:
        found = sandbox.find()
    except BadInput as problem:
        pytest.skip(str(problem))
    with found:
        yield found
