"""What a hub does not give is told apart: a name that is wrong, and a hub that is not there. No test reaches one."""

import pytest

from infra import hub
from infra.errors import BadInput, Unavailable

COMMIT = "0123456789" * 4


def test_a_model_that_is_not_here_and_cannot_be_fetched_is_unavailable():
    with pytest.raises(Unavailable, match="model 'nobody/nothing' at 012345678901: not in the hub's cache"):
        hub.local_copy("nobody/nothing", COMMIT)


def test_a_name_that_no_hub_takes_is_refused():
    with pytest.raises(BadInput, match="model 'a/b/c' at 012345678901: "):
        hub.local_copy("a/b/c", COMMIT, weights=False)
