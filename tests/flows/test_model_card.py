"""What is promoted: the model's files and a card that says its numbers, and nothing half-written or in another's place."""

import pytest

from flows.results.model_card import promote_model
from flows.workspace import Workspace
from infra.errors import BadInput
from tasks.stage import What, stage

FOUND = {
    "name": "check",
    "models": ["target", "WRPO"],
    "suites": [
        {
            "name": "alpaca-eval",
            "results": [
                {"model": name, "column": "LC@owl", "value": value, "low": value - 3, "high": value + 3}
                for name, value in (("target", 40.0), ("WRPO", 52.5))
            ],
            "differences": [
                {"from": "target", "to": "WRPO", "column": "LC@owl", "value": 12.5, "low": 9.0, "high": 16.0}
            ],
            "counts": {name: {"questions": 805, "missing": 1, "flagged": 2} for name in ("target", "WRPO")},
        }
    ],
}


class Weights(What):
    words: str


@stage("WRPO", version="1")
def train(run, what, how, model=()):
    (run.folder / "model").mkdir()
    (run.folder / "model" / "model.safetensors").write_text(what.words)
    (run.folder / "steps.parquet").write_text("not the model's")


@stage("model", version="1")
def name_model(run, what, how):
    (run.folder / "hub.json").write_text("{}")


def test_a_promoted_model_has_its_files_card_and_lineage(workplace):
    place = Workspace(workplace.store, workplace.launcher, workplace.folder)
    first = train("SFT", what=Weights(words="before"))
    last = train("WRPO", what=Weights(words="weights"), model=first)
    workplace.made(last)
    promote_model(last, FOUND, place, workplace.folder / "out")
    assert {file.name for file in (workplace.folder / "out").iterdir()} == {"model.safetensors", "README.md"}
    assert (workplace.folder / "out" / "model.safetensors").read_text() == "weights"
    card = (workplace.folder / "out" / "README.md").read_text()
    assert "| alpaca-eval | LC@owl | 52.50 | 49.50 to 55.50 | 805 | 1 | 2 |" in card and "40.00" not in card
    assert "+12.50 (+9.00 to +16.00) against target" in card and first.address[:17] in card
    with pytest.raises(BadInput, match="exists already"):
        promote_model(last, FOUND, place, workplace.folder / "out")


def test_a_model_of_a_hub_is_not_ours_to_promote(workplace):
    place, named = Workspace(workplace.store, workplace.launcher, workplace.folder), name_model(what=Weights(words="x"))
    workplace.made(named)
    with pytest.raises(BadInput, match="only a model that was trained here can be promoted"):
        promote_model(named, FOUND, place, workplace.folder / "out")
