"""Steps as JSON: every step of every recipe arrives as itself, and another version's step is refused."""

import json

import pytest

from flows.config.loading import load
from flows.config.recipe import Recipe
from flows.fusion import fusion
from flows.run.packed_step import Portable, pack, unpack
from infra.errors import BadInput
from tasks.stage import lineage


@pytest.fixture(scope="module")
def steps():
    recipe = load("demo", ["how.sft.work_pool=gpu-train", "wrpo.schedule={kind='gap'}"])
    return lineage(fusion(Recipe.model_validate(recipe)))


def over_the_wire(step):
    return unpack(Portable.model_validate_json(json.dumps(pack(step).model_dump(mode="json"))))


def test_every_step_of_a_recipe_arrives_as_itself(steps):
    for step in steps:
        there = over_the_wire(step)
        assert (there.address, there.label, there.pool) == (step.address, step.label, step.pool)


def test_how_travels_too(steps):
    (sft,) = [step for step in steps if step.label == "SFT"]
    assert over_the_wire(sft).how == sft.how and sft.how.work_pool == "gpu-train"


def test_a_step_that_another_version_would_make_is_refused(steps):
    packed = pack(steps[-1])
    with pytest.raises(BadInput, match="another version"):
        unpack(packed.model_copy(update={"address": "report/" + 40 * "0"}))
    with pytest.raises(BadInput, match=r"cannot read its settings(?s:.)*colour"):
        unpack(packed.model_copy(update={"what": {**packed.what, "colour": "red"}}))
    with pytest.raises(BadInput, match="does not know 'tasting'"):
        unpack(packed.model_copy(update={"address": "tasting/" + 40 * "0"}))
