"""A recipe whose rules ask which responses are correct, from its prompts to its records: answers for one category, tests for
another, no check at all for the third."""

import json

import pytest

from flows.config.loading import load
from flows.fusion import fusion
from infra.errors import BadInput
from tasks.checks.sandbox import outside as sandbox
from tasks.stage import lineage
from tests.chain.small import write_recipe

LETTERS = "abcdefghijklm"  # programs of one letter: these are bound, and so they pass
SETUP = "".join(f"{letter} = " for letter in LETTERS) + "0\ndef one(): return 1"
CODE = json.dumps({"setup": SETUP, "tests": "assert one() == 1", "entry_point": "one"})
RULES = """{ kind = "by-category", rules = {
    talk = { kind = "same-source", cut_chosen = "learned" },
    maths = { kind = "math", cut_chosen = "learned" },
    code = { kind = "code", cut_chosen = "learned" } } }"""
RECORDS = """{ kind = "by-category", rules = {
    talk = { kind = "best", cut_chosen = "learned" },
    maths = { kind = "best-correct", cut_chosen = "learned" },
    code = { kind = "best-correct", cut_chosen = "learned" } } }"""


@pytest.fixture
def recipe(tmp_path):
    """A source that has learned nothing says one letter at a time, 16 times to each of 60 prompts."""
    kinds = [("talk", None), ("maths", "a"), ("code", CODE)]
    rows = [
        {"prompt": f"{name} {chr(97 + number // 3)}", "category": name, "gold": gold}
        for number, (name, gold) in enumerate(kinds * 20)
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = write_recipe(tmp_path, sources=1)
    recipe.write_text(recipe.read_text().replace("[[sources]]", "[checks]\nseconds = 20.0\n\n[[sources]]", 1))
    changes = [
        f"prompts={{kind='file', path='{file}'}}",
        f"pairs={' '.join(RULES.split())}",
        f"records={' '.join(RECORDS.split())}",
        "sampling={n=16, max_new_tokens=1, temperature=1.0}",
        "wrpo={objective='dpo', pair='sources', learning_rate=1e-4, batch_size=16, max_length=64}",
    ]
    return recipe, changes


def test_rules_for_mathematics_and_code_find_their_pairs(recipe, workplace):
    try:
        sandbox.find().__exit__()
    except BadInput as problem:
        pytest.skip(str(problem))
    steps = {step.label: step for step in lineage(fusion(load(str(recipe[0]), recipe[1])))}
    table = lambda label, name: workplace.table(steps[label], f"{name}.parquet")
    pairs, records = table("pairs", "pairs"), table("SFT records", "records")
    category = table("prompt selection", "prompts").set_index("prompt_id")["category"]
    chosen = lambda table, column, kind: set(table.loc[table["prompt_id"].map(category) == kind, column].str.strip())
    assert set(pairs["prompt_id"].map(category)) == set(records["prompt_id"].map(category)) == {"talk", "maths", "code"}
    assert chosen(pairs, "source_best", "maths") == chosen(records, "response", "maths") == {"a"}
    assert "a" not in chosen(pairs, "source_worst", "maths")
    right, wrong = (
        chosen(pairs, "source_best", "code") | chosen(records, "response", "code"),
        chosen(pairs, "source_worst", "code"),
    )
    assert right <= {*LETTERS, ""} and wrong and not wrong & {*LETTERS, ""}
    checked = workplace.made(steps["reward annotation · checks of source-1"]).counts
    assert checked["unchecked"] > 0 and any(f"ran_in_{means}" in checked for means in sandbox.MEANS)


def test_checks_reach_only_what_asks_for_them(recipe):
    """Neither scores nor the report, nor pairs whose rule reads no checks, have another address because of them."""
    file, changes = recipe
    labels = lambda *more: {step.label: step.address for step in lineage(fusion(load(str(file), [*changes, *more])))}
    with_checks, slower = labels(), labels("checks.seconds=30.0")
    assert {label for label in with_checks if with_checks[label] == slower[label]} >= {
        "splitting",
        "reward annotation · source-1",
    }
    assert with_checks["pairs"] != slower["pairs"] and with_checks["SFT records"] != slower["SFT records"]
    plain = "pairs={kind='same-source'}", "records={kind='best'}"
    assert labels(*plain)["pairs"] == labels(*plain, "checks.seconds=30.0")["pairs"]
    assert "reward annotation · checks of source-1" not in labels(*plain)
