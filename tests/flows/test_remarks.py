"""`fuse plan` says which checks have no effect, and that a report will have no accuracy, before anything is paid for."""

import json

import pytest

from flows.cli.main import main
from flows.config.loading import load
from flows.fusion import fusion
from flows.workspace import Place
from tasks.execution import ensure
from tasks.stage import lineage
from tests.chain.small import write_recipe

NOTHING = "[checks] have no effect: no prompt has a gold answer; the report will have no accuracy"
ASKED = (
    "[checks] have no effect, although pairs need them: no prompt has a gold answer; the report will have no accuracy"
)
ALONE = "only the evaluation uses [checks]: neither records nor pairs read them"

MATHS = [
    "pairs={kind='math'}",
    "wrpo={objective='dpo', pair='sources', learning_rate=1e-4, batch_size=16, max_length=64}",
]


@pytest.mark.parametrize(
    ("gold", "changes", "note"),
    [
        ("a", [], "no [checks]: the report will have no accuracy"),
        ("a", ["checks={}"], ALONE),
        (None, ["checks={}"], NOTHING),
        ("  ", ["checks={}", *MATHS], ASKED),
        ("a", ["checks={}", *MATHS], None),
    ],
)
def test_a_plan_names_checks_without_effect(workplace, capsys, gold, changes, note):
    file = workplace.folder / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"say {n}", "gold": gold}) + "\n" for n in range(20)))
    recipe = str(write_recipe(workplace.folder))
    changes = [f"prompts={{kind='file', path='{file}'}}", *changes]
    prompts = next(step for step in lineage(fusion(load(recipe, changes))) if step.title == "prompt selection")
    words = ["plan", recipe, *(word for change in changes for word in ("--set", change))]
    assert main(words) == 0
    before = capsys.readouterr().out
    place = Place.from_settings()
    made = ensure(prompts, place.store, place.launcher)
    assert made.counts["with_gold"] == (20 if gold == "a" else 0)
    assert main(words) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert said == ([f"note: {note}"] if note else [])
    assert "have no effect" not in before  # not known before the prompts are selected
