"""A small real model fused on arithmetic word problems: the report's accuracies are those of `fuse evaluate` and of a count
that shares no code with either. `make test-real`, minutes.
"""

import json
import random
import re
import subprocess
import sys

import pandas as pd
import pytest

from tests.chain.small import ROOT, environment
from tests.responses import small_model

pytestmark = pytest.mark.real
STORIES = (
    "Tom has {} apples and buys {} more. How many apples does he have now?",
    "A farm has {} cows and {} sheep. How many animals does it have?",
    "Ann read {} pages on Monday and {} on Tuesday. How many pages did she read?",
    "A bus has {} riders, and {} more get on. How many riders does it have?",
)
PARTS = {"sft": 8, "preference": 8, "held_out": 24}
MODELS = ("target", "SFT", "WRPO", "source")
PROGRAM = """import json, sys
for line in sys.stdin:
    print(-len(json.loads(line)["response"]))
"""
RECIPE = """
name = "real"
seed = 1
prompts = {{ kind = "file", path = "{folder}/problems.jsonl", columns = {{ part = "part" }} }}
split = {{ kind = "given" }}
target = {{ kind = "folder", path = "{folder}/small" }}
reward = {{ model = {{ kind = "program", path = "{folder}/shorter.py" }}, scoring = {{ kind = "program" }} }}
sampling = {{ n = 4, temperature = 1.0, max_new_tokens = 24 }}
sft = {{ learning_rate = 2e-5, batch_size = 4, max_length = 256 }}
wrpo = {{ objective = "wrpo", beta = 0.1, learning_rate = 1e-6, batch_size = 4, max_length = 256 }}
how.sft = {{ device_batch_size = 4 }}
how.wrpo = {{ device_batch_size = 4 }}

[checks]

[[sources]]
name = "source"
model = {{ kind = "folder", path = "{folder}/small" }}

[evaluation]
judge = {{ model = {{ kind = "program", path = "{folder}/shorter.py" }}, scoring = {{ kind = "program" }} }}

[doctor.accepted]
default-system = "as its authors ship it"
"""
EXAMINATION = """
name = "real"
seed = 1
{models}
[[suites]]
suite = "checked"
name = "sums"
max_new_tokens = 24
prompts = {{ kind = "file", path = "{folder}/held-out.jsonl" }}
"""
MODEL = """
[[models]]
name = "{name}"
model = {{ kind = "recipe", recipe = "{folder}/real.toml", of = "{name}" }}
"""


def write_problems(folder) -> None:
    """Each prompt shows two worked problems first; the numbers are small, as the model is."""
    shown = [
        {"role": "user", "content": STORIES[0].format(3, 2)},
        {"role": "assistant", "content": "3 + 2 = 5. The answer is 5."},
        {"role": "user", "content": STORIES[1].format(6, 8)},
        {"role": "assistant", "content": "6 + 8 = 14. The answer is 14."},
    ]
    sums = random.Random(1).sample([(one, other) for one in range(2, 20) for other in range(2, 10)], 40)
    parts = [part for part, count in PARTS.items() for _ in range(count)]
    rows = [
        {
            "messages": [*shown, {"role": "user", "content": STORIES[number % 4].format(*terms)}],
            "gold": str(sum(terms)),
            "part": part,
        }
        for number, (terms, part) in enumerate(zip(sums, parts, strict=True))
    ]
    for name, kept in (("problems", rows), ("held-out", [row for row in rows if row["part"] == "held_out"])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))


def count_right(rows: pd.DataFrame) -> int:
    """Answers whose last number is the gold."""
    last = [(re.findall(r"\d+", text) or [""])[-1] for text in rows["text"]]
    return sum(said == gold for said, gold in zip(last, rows["gold"], strict=True))


def fuse(workspace, *words: str) -> None:
    """Without a limit of time: how long it takes depends on what else this machine does."""
    answer = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *words],
        cwd=ROOT,
        env=environment(workspace),
        capture_output=True,
        text=True,
    )
    print(answer.stdout)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_report_evaluation_and_an_own_count_have_the_same_accuracies(tmp_path):
    if small_model.unpacked() is None:
        pytest.skip("the small model's package is not installed: requirements-small-model.lock")
    small_model.write(tmp_path / "small")
    write_problems(tmp_path)
    (tmp_path / "shorter.py").write_text(PROGRAM)
    (tmp_path / "real.toml").write_text(RECIPE.format(folder=tmp_path))
    models = "".join(MODEL.format(name=name, folder=tmp_path) for name in MODELS)
    (tmp_path / "real-check.toml").write_text(EXAMINATION.format(models=models, folder=tmp_path))
    space = tmp_path / "space"
    for words in (("run", "real.toml"), ("evaluate", "real-check.toml")):
        fuse(space, words[0], str(tmp_path / words[1]))

    only = lambda pattern: next((space / "store").rglob(pattern))
    numbers = json.loads(only("numbers.json").read_text())
    report = {one["model"]: one["accuracy"]["value"] for one in numbers["results"]}
    suite = json.loads(only("checked-results/**/results.json").read_text())
    examined = {one["model"]: one["value"] for one in suite["results"]}
    answers = pd.read_parquet(only("answers.parquet"))
    counted = {name: count_right(answers[answers["model"] == name]) for name in MODELS}
    print(f"report {report}, evaluate {examined}, counted {counted} of {PARTS['held_out']}")
    assert numbers["held_out"] == PARTS["held_out"] and numbers["no_accuracy"] is None
    assert {name: round(24 * value) for name, value in report.items()} == counted
    assert examined == pytest.approx({name: 100 * value for name, value in report.items()})
    right = answers[answers["correct"] == True]  # noqa: E712  (objects: True, False and None)
    assert len(right) and (right["text"].str.strip() != right["gold"]).all()  # none spells the gold alone
