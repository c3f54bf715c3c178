"""The better of the last two checkpoints: measured on records that no step saw, kept through a kill, and off by default."""

import hashlib

import pytest
from transformers import AutoModelForCausalLM

from infra.errors import BadInput
from tasks.program import Progress
from tasks.sft.best import hold_out
from tasks.sft.stage import SFT
from tasks.sft.train import main
from tasks.stage import digest
from tasks.training.checkpoints import finished_checkpoints
from tests import tiny
from tests.sft.test_train import cross_entropy_over_responses, job, trained, weights

TEXTS = [
    (f"copy: {word}", word) for word in ("a", "bc", "def", "ghij", "k l", "mno", "pq", "r", "stu", "vw", "xyz", "no")
]
HALF = {"every": 5, "held_out": 0.4}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("start"))


def unseen() -> list[tuple[str, str]]:
    return [(row["name"], row["name"].removeprefix("copy: ")) for row in hold_out(rows(), 0.4)[1]]


def rows() -> list[dict]:
    return [{"name": prompt} for prompt, _ in TEXTS]


@pytest.mark.parametrize(("rate", "every", "kept"), [(3e-3, 5, 7), (0.3, 1, 6)])
def test_the_weights_with_the_lower_loss_on_unseen_records_are_kept(rate, every, kept, start, tmp_path):
    """A sensible rate still learns at the end; an absurd one, at its largest there, spoils what was learnt."""
    what = {"learning_rate": rate, "warmup_ratio": 0.9 if every == 1 else 0.0, "epochs": 99, "max_steps": 7}
    what["best_of_two"] = HALF | {"every": every}
    summary = trained(start, tmp_path, texts=TEXTS, **what)
    assert summary["held_out"] == len(unseen()) and summary["rows"] == len(TEXTS) - len(unseen())
    losses = {kept if kept < 7 else every: summary["held_out_loss_before"], 7: summary["held_out_loss_last"]}
    assert summary["kept_step"] == min(losses, key=losses.get) == kept
    assert cross_entropy_over_responses(tmp_path / "out/model", unseen()) == pytest.approx(
        min(losses.values()), rel=1e-5
    )


def test_without_a_multiple_before_the_end_the_last_weights_stay(start, tmp_path):
    summary = trained(start, tmp_path, texts=TEXTS, max_steps=2, epochs=9, best_of_two=HALF | {"every": 50})
    assert summary["kept_step"] == 2 and summary["held_out_loss_before"] == summary["held_out_loss_last"]


def test_a_resumed_run_still_knows_its_candidate(start, tmp_path):
    given = job(start, tmp_path, texts=TEXTS, learning_rate=0.3, epochs=99, max_steps=9, best_of_two=HALF)
    given["how"]["checkpoint_steps"] = 3
    for name in ("whole", "resumed"):
        (tmp_path / name / "out").mkdir(parents=True)
    whole = main(given, tmp_path / "whole/out", Progress(tmp_path))
    last = tmp_path / "whole/out/checkpoints/000000006"
    assert finished_checkpoints(tmp_path / "whole/out")[0] == last and (last / "along/candidate.json").exists()
    assert main(given | {"resume": str(last)}, tmp_path / "resumed/out", Progress(tmp_path)) == whole
    assert weights(tmp_path / "resumed") == weights(tmp_path / "whole")


def test_a_record_stays_where_it_is_when_others_come():
    fewer, more = (set(row["name"] for row in hold_out(some, 0.4)[1]) for some in (rows()[:8], rows()))
    assert fewer <= more
    shares = hold_out([{"name": hashlib.md5(bytes([n % 256, n // 256])).hexdigest()} for n in range(4000)], 0.1)
    assert 320 < len(shares[1]) < 480


def test_a_share_that_takes_none_or_all_is_refused():
    with pytest.raises(BadInput, match=r"held_out: a share of 1e-06 holds out 0 of 12 records"):
        hold_out(rows(), 1e-6)


def test_the_default_keeps_the_last_and_the_address():
    plain = SFT(learning_rate=1.0, seed=1)
    assert plain.best_of_two is None and digest(plain) == digest(SFT(learning_rate=1.0, seed=1, best_of_two=None))
    assert digest(plain) != digest(SFT(learning_rate=1.0, seed=1, best_of_two={"every": 100}))


def test_lora_keeps_the_better_weights_too(start, tmp_path):
    lora = {"rank": 4, "alpha": 8.0, "targets": ["q_proj"]}
    what = {"learning_rate": 3.0, "epochs": 99, "max_steps": 7, "best_of_two": HALF, "lora": lora}
    summary = trained(start, tmp_path, texts=TEXTS, **what)
    kept = min(summary["held_out_loss_before"], summary["held_out_loss_last"])
    assert cross_entropy_over_responses(tmp_path / "out/model", unseen()) == pytest.approx(kept, rel=1e-4)
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (start, tmp_path / "out/model"))
    changed = {name for name, value in before.named_parameters() if (value != after.get_parameter(name)).any()}
    assert changed == {f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)}
