"""Models examined for real in small: answers, a judge at an endpoint, results, the gate, the promoted folder."""

import json

import pytest

from tests.chain.small import ALL, fuse
from tests.evaluation.made import folder_of, reply
from tests.stub_endpoint import moody, stub_endpoint

TINY = f'kind = "tiny", hidden = 16, layers = 1, skills = {ALL}'
EXAMINATION = """
name = "small-check"
seed = 5

[[models]]
name = "before"
model = {{ {tiny}, steps = 2, seed = 1 }}

[[models]]
name = "after"
model = {{ {tiny}, steps = 2, seed = 2 }}

{suites}

[[suites]]
suite = "checked"
name = "skills"
max_new_tokens = 8
prompts = {{ kind = "skills", count = 60, seed = 3 }}

[judge]
model = "stub-1"
how = {{ url = "{url}", first_wait = 0.0 }}

[gate]
suites = ["skills"]
"""
SUITE = """
[[suites]]
suite = "{name}"
path = "{path}"
max_new_tokens = 8
temperature = 1.0
"""


def judge_by_length(body: dict) -> dict:
    """Whatever suite it is asked for, it finds this in what it is shown; the suites' words are too few to mix up."""
    shown = body["messages"][-1]["content"]
    return reply("alpaca-eval" if "\nM: " in shown else "mt-bench", len(shown) % 7 / 7, "as is")


@pytest.mark.heavy
def test_two_models_on_three_suites_by_a_moody_judge(tmp_path):
    made = "".join(
        SUITE.format(name=name, path=folder_of(name, tmp_path / name, 8)) for name in ("alpaca-eval", "mt-bench")
    )
    file = tmp_path / "examination.toml"
    with stub_endpoint(judge_by_length, moody) as stub:
        file.write_text(EXAMINATION.format(tiny=TINY, suites=made, url=stub.url))
        first = fuse(tmp_path / "space", "evaluate", str(file), "--promote", str(tmp_path / "out"))
        print(first.stdout, first.stderr)
        paid = stub.answered.total()
        again = fuse(tmp_path / "space", "evaluate", str(file))
    assert first.returncode == 0, first.stderr
    for column in ("LC@stub-1", "WR@stub-1", "turn 1@stub-1", "overall@stub-1", "accuracy"):
        assert column in first.stdout
    assert "gate: passed" in first.stdout and again.returncode == 0
    assert stub.answered.total() == paid and set(stub.answered.values()) == {1}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "LC@stub-1" in card and "Licences" in card and "model · after" in card
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "llama"
