"""A whole run with suites, collectives and a judge at an endpoint, then a matrix over it; each again: nobody is asked and nothing
is executed. Five minutes of CPU."""

import pytest

from tests.chain.small import fuse, manifests, write_recipe
from tests.chain.test_baselines import MORE, judge
from tests.evaluation.made import folder_of
from tests.stub_endpoint import moody, stub_endpoint

MIXTURE = """[[evaluation.collectives]]
name = "mixture"
model = {{ kind = "mixture-of-agents", aggregator = "source-1" }}
"""  # its prompt is longer than a tiny model reads
WARM = (
    "evaluation.temperature = 1.0\n"  # greedy, such models say one thing over and over, which no judge is asked about
)
CHECKED = """
[[evaluation.suites]]
suite = "checked"
name = "skills"
max_new_tokens = 8
prompts = { kind = "skills", count = 12, seed = 3 }
"""
MATRIX = """
name = "pair"
base = "{base}"
[[variants]]
name = "beta"
hypothesis = "h"
set = {{ "wrpo.beta" = 0.5 }}
"""


@pytest.mark.heavy
def test_a_second_run_with_suites_and_matrix_executes_nothing(tmp_path):
    recipe, space = write_recipe(tmp_path), tmp_path / "space"
    alpaca = folder_of("alpaca-eval", tmp_path / "alpaca", 4)
    head, sources, rest = recipe.read_text().replace("count = 60", "count = 24").partition("\n[[sources]]")
    (tmp_path / "matrix.toml").write_text(MATRIX.format(base=recipe))
    with stub_endpoint(judge, moody) as stub:
        how, _, tables = MORE.replace(MIXTURE, "").format(url=stub.url, path=alpaca).partition("\n\n")
        recipe.write_text(f"{head}\n{how}\n{WARM}{sources}{rest}\n{tables}temperature = 1.0\n{CHECKED}")
        for words in (("run", str(recipe)), ("ablate", str(tmp_path / "matrix.toml"))):
            paid = stub.answered.total()
            first = fuse(space, *words)
            print(first.stdout, first.stderr)
            assert first.returncode == 0 and "✓" in first.stdout
            assert stub.answered.total() > paid and set(stub.answered.values()) == {1}  # of a moody judge
            for name in ("LC@stub-1", "skills"):
                assert name in first.stdout
            asked, made = stub.seen.total(), manifests(space / "store")
            again = fuse(space, *words)
            assert again.returncode == 0 and "✓" not in again.stdout, again.stdout
            assert (stub.seen.total(), manifests(space / "store")) == (asked, made)
        assert "best-of-sources" in fuse(space, "report", str(recipe)).stdout
    labels = {text.partition('"label":')[2][:60] for text in made.values()}
    assert any("against the base" in label for label in labels)
