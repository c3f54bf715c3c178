"""A source of responses that the data set already holds, in the chain: alone, and beside one that is sampled."""

import json

import pytest

from flows.config.loading import load
from flows.fusion import fusion
from tasks.demo import skills
from tasks.stage import lineage
from tests.chain.small import fuse, states, write_recipe

HELD = """
[[sources]]
name = "held"
model = { kind = "existing" }
"""


@pytest.fixture
def recipe(tmp_path):
    """Of 60 prompts two thirds came with a response."""
    rows = [
        {"messages": one["messages"], "category": one["category"], "gold": one["gold"], "said": one["gold"]}
        | ({"said": None} if number % 3 == 0 else {})
        for number, one in enumerate(skills.prompts(60, seed=5))
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = write_recipe(tmp_path, sources=1)
    prompts = f"prompts = {{ kind = 'file', path = '{tmp_path / 'prompts.jsonl'}', columns = {{ response = 'said' }} }}"
    recipe.write_text(recipe.read_text().replace('prompts = { kind = "skills", count = 60 }', prompts) + HELD)
    return recipe


def alone(recipe):
    """The same without the source that is sampled."""
    text = recipe.read_text()
    start, end = text.index("[[sources]]"), text.rindex("[[sources]]")
    file = recipe.with_name("alone.toml")
    file.write_text(text[:start] + text[end:])
    return file


def made(recipe, workplace, *changes: str):
    """Reads a table of one of the recipe's steps."""
    steps = {step.label: step for step in lineage(fusion(load(str(recipe), changes)))}
    return lambda label, name: workplace.table(steps[label], f"{name}.parquet")


def test_held_responses_are_scored_and_make_records_as_any(recipe, workplace):
    table = made(alone(recipe), workplace)
    held, prompts = table("per-model sampling · held", "responses"), table("prompt selection", "prompts")
    assert set(held["prompt_id"]) == set(prompts.loc[prompts["response"].notna(), "prompt_id"]) and len(held) == 40
    records = table("SFT records", "records")
    assert len(records) and records["response"].isin(held["text"]).all()


@pytest.mark.heavy
def test_held_responses_stand_beside_sampled_ones(recipe, workplace):
    table = made(recipe, workplace, "sft.form='none'")
    held, sampled = (set(table(f"per-model sampling · {name}", "responses")["text"]) for name in ("held", "source-1"))
    best = set(table("pairs", "pairs")["source_best"])
    assert best <= held | sampled and best & held


@pytest.mark.heavy
@pytest.mark.parametrize("chosen", [alone, lambda recipe: recipe], ids=["alone", "beside another"])
def test_the_chain_runs_to_its_report(recipe, tmp_path, chosen):
    ended = fuse(tmp_path / "workspace", "run", str(chosen(recipe)))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    plan = states(fuse(tmp_path / "workspace", "plan", str(chosen(recipe))).stdout)
    assert set(plan.values()) == {"found"} and "evaluation · answers of held" not in plan
