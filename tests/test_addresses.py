"""Finished work is found by its address: no change of the code may move one unseen."""

import json

import pytest

from tests.addresses import KEPT, all_addresses

WRITTEN = json.loads(KEPT.read_text())


@pytest.fixture(scope="module")
def found():
    return all_addresses()


@pytest.mark.parametrize("name", WRITTEN)
def test_addresses_are_the_ones_written_down(found, name):
    assert found[name] == WRITTEN[name]


def test_every_shipped_recipe_and_matrix_is_written_down(found):
    assert set(found) == set(WRITTEN)
