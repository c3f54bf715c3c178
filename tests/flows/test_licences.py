"""Licences on cards: what a recipe states, strictest first; and what was made again."""

import pytest

from flows.config.loading import load_recipe
from flows.results.licences import find_licence, front_matter, licence_section, licences_of, resampled_section
from tests.workplace import as_made


@pytest.mark.parametrize(
    ("stated", "hub", "words"),
    [
        ("CC-BY-NC-4.0: not for commercial use", "cc-by-nc-4.0", "forbids commercial use"),
        ("CC-BY-4.0, Llama 3.1 community licence", "llama3.1", "asks for “Llama”"),
        ("Llama 3 community licence", "llama3", "forbids to improve other models"),
        ("Mistral Research License", "other", "forbids use other than research"),
        ("Apache-2.0 code, weights by application for commercial use", "other", "without an application"),
        ("MIT", "mit", "asks to keep its notice"),
        ("", "unknown", "look it up"),
        ("my own", "unknown", "look it up"),
    ],
)
def test_a_stated_licence_is_known_by_its_words(stated, hub, words):
    found = find_licence(stated, ("a",))
    assert found.hub == hub and words in found.forbids


def test_the_papers_recipe_lists_its_licences_strictest_first():
    recipe = load_recipe("fusechat3-gemma2-9b")
    recipe = recipe.model_copy(update={"prompts": load_recipe("demo").prompts})  # its own have revisions to choose
    licences = licences_of(recipe, with_target=True)
    assert [licence.rank for licence in licences] == sorted(licence.rank for licence in licences)
    assert licences[0].hub == "other" and any("target" in name for one in licences for name in one.of)
    named = {name for licence in licences for name in licence.of}
    assert {source.name for source in recipe.sources} <= named
    head = front_matter(recipe, licences, model=True)
    assert head.startswith("license: other\nlicense_name: 'Mistral Research License'\n")
    assert "base_model: google/gemma-2-9b-it" in head
    assert "| Mistral Research License | forbids use other than research |" in "\n".join(licence_section(licences))
    assert len(licences_of(recipe, with_target=False)) <= len(licences)


def test_a_card_says_how_many_rows_were_made_again():
    from tests.flows.test_resample import Ids, hashed

    made = as_made(hashed(what=Ids(count=1))).model_copy(update={"provenance": {"machine": "a", "cores": 8}})
    result = {
        "address": f"{made.stage}/{made.fingerprint}",
        "stored": 540_000,
        "rows": 5400,
        "equal": 5400,
        "drift": [],
    }
    away = {**result, "made_on": {"machine": "a", "cores": 16}}
    text = "\n".join(resampled_section([made], [away]))
    assert "1.0% of 540,000 rows made again, on another machine: 100.00% equal (5,400 of 5,400)." in text
    changed = {**result, "equal": 5399, "drift": ["engine vllm 1 → vllm 2"], "made_on": {"machine": "a", "cores": 8}}
    text = "\n".join(resampled_section([made], [changed]))
    assert "on a machine of the same kind: 99.98% equal" in text and "Changed since: engine vllm 1 → vllm 2." in text
    assert resampled_section([made], []) == []
