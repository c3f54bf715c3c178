"""The deployments beside fusing: a matrix and an examination over what the runs before have made, and housekeeping after all.

Goes on from what tests/e2e/test_stack.py has left.
"""

from collections import Counter

import pytest

from flows.ablation import load_matrix
from flows.config.examination import load_examination
from flows.config.loading import load_recipe
from flows.evaluation import build_chains
from flows.fusion import fusion
from tasks.stage import Step, lineage
from tests.e2e.home import Home

pytestmark = pytest.mark.e2e
POOLED = ("wrpo/", "per-model-sampling/", "reward-annotation/")
MATRIX = """
name = "pair"
base = "{recipe}"

[[variants]]
name = "static"
hypothesis = "a weight that rises is better"
set = {{ "wrpo.schedule" = {{ kind = "static" }} }}
"""
EXAMINATION = """
name = "skills"
seed = 5
models = [
  {{ name = "before", model = {{ kind = "recipe", recipe = "{recipe}", of = "target" }} }},
  {{ name = "after", model = {{ kind = "recipe", recipe = "{recipe}" }} }},
]

[[suites]]
suite = "checked"
name = "skills"
max_new_tokens = 8
prompts = {{ kind = "skills", count = 30, seed = 3 }}

[gate]
suites = ["skills"]
"""


def missing(home: Home, lasts: list[Step]) -> set[str]:
    steps = {step.address: step for last in lasts for step in lineage(last)}
    return {address for address in steps if home.store.manifest(*address.split("/")) is None}


def artifacts(home: Home, run: str) -> dict[str, dict]:
    found = home.call("POST", "/artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}}, limit=200)
    return {one["key"]: one for one in found}


def test_matrix_and_examination_run_on_the_pools(home, recipe, tmp_path):
    matrix, examination = tmp_path / "pair.toml", tmp_path / "skills.toml"
    matrix.write_text(MATRIX.format(recipe=recipe))
    examination.write_text(EXAMINATION.format(recipe=recipe))
    variants = [run.last for run in load_matrix(str(matrix))[1]]
    suites = list(build_chains(load_examination(str(examination))).values())
    new = missing(home, variants)
    assert 0 < len(new) < 8 and len(missing(home, suites)) > 3
    runs = [
        home.start("ablate/ablation", matrix=str(matrix)),
        home.start("evaluate/evaluation", examination=str(examination)),
    ]
    assert home.finish(*runs) == ["Completed", "Completed"], home.story()
    assert missing(home, variants + suites) == set()
    pooled = Counter(tag for run in home.runs() if run["start_time"] for tag in run["tags"] if tag[5:] in new)
    assert pooled.keys() == {f"step:{address}" for address in new if address.startswith(POOLED)}
    assert set(pooled.values()) == {1}
    assert [home.call("GET", f"/flow_runs/{run}")["name"] for run in runs] == ["pair", "skills"]
    assert "static" in str(artifacts(home, runs[0])["matrix"]["data"])
    assert "accuracy" in str(artifacts(home, runs[1])["suites"]["data"]) and "gate" in artifacts(home, runs[1])
    assert all((home.workspace / "reports" / f"{name}.html").is_file() for name in ("matrix-pair", "evaluation-skills"))


def test_housekeeping_deletes_what_no_kept_recipe_needs_and_nothing_else(home, recipe):
    kept, gone = (fusion(load_recipe(str(recipe), overrides)) for overrides in ([], ["wrpo.beta=0.2"]))
    assert missing(home, [kept, gone]) == set()
    run = home.start("housekeeping/housekeeping", keep=[str(recipe)], older_than_days=0, delete=True)
    assert home.finish(run) == ["Completed"], home.story()
    assert missing(home, [kept]) == set()
    assert missing(home, [gone]) == {step.address for step in lineage(gone)} - {step.address for step in lineage(kept)}
    assert gone.address in str(artifacts(home, run)["garbage"]["data"])
