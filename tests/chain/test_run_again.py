"""A whole run with suites, collectives and a judge at an endpoint, and again: nobody is asked and nothing is executed. Three
minutes of CPU."""

import pytest
from chain.small import fuse, manifests, write_recipe
from chain.test_baselines import MORE, judge
from evaluation.made import folder_of
from stub_endpoint import moody, stub_endpoint

CHECKED = """
[[evaluation.suites]]
suite = "checked"
name = "skills"
max_new_tokens = 8
prompts = { kind = "skills", count = 12, seed = 3 }
"""


@pytest.mark.heavy
def test_a_run_with_suites_and_collectives_asks_nobody_and_executes_nothing_again(tmp_path):
    recipe, space = write_recipe(tmp_path), tmp_path / "space"
    head, sources, rest = recipe.read_text().replace("count = 60", "count = 24").partition("\n[[sources]]")
    with stub_endpoint(judge, moody) as stub:
        how, _, tables = MORE.format(url=stub.url, path=folder_of("alpaca-eval", tmp_path / "alpaca", 4)).partition(
            "\n\n"
        )
        recipe.write_text(f"{head}\n{how}\n{sources}{rest}\n{tables}{CHECKED}")
        first = fuse(space, "run", str(recipe))
        print(first.stdout, first.stderr)
        asked, paid, before = stub.seen.total(), stub.answered.total(), manifests(space / "store")
        again = fuse(space, "run", str(recipe))
        print(again.stdout, again.stderr)
        assert (stub.seen.total(), manifests(space / "store")) == (asked, before)
    assert first.returncode == again.returncode == 0
    assert paid > 0 and set(stub.answered.values()) == {1}  # the judge is moody: some of them were asked more than once
    assert "nothing to do" in again.stdout and "✓" in first.stdout and "✓" not in again.stdout
    for name in ("best-of-sources", "mixture", "LC@stub-1", "skills"):
        assert name in first.stdout
