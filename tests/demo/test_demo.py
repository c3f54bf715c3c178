"""The claim of the demo, on three seeds that remake every model, prompt and sample: `make demo-seeds`, ten minutes."""

import json

import pytest

from tests.chain.small import fuse


@pytest.mark.demo
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sft_beats_the_target_and_wrpo_beats_sft(seed, tmp_path_factory):
    space = tmp_path_factory.mktemp("demo")
    answer = fuse(space, "run", "demo", "--set", f"seed={seed}")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    print(answer.stdout.partition("model  ")[2])
    (numbers,) = (space / "store" / "report").rglob("numbers.json")
    changes = json.loads(numbers.read_text())["differences"]
    assert [(change["from"], change["to"], change["metric"]) for change in changes] == [
        ("target", "SFT", "accuracy"),
        ("target", "SFT", "win_rate"),
        ("SFT", "WRPO", "accuracy"),
        ("SFT", "WRPO", "win_rate"),
    ]
    assert all(change["low"] > 0 for change in changes), changes
