"""Two processes, plain or under DeepSpeed's ZeRO: the steps of one process, its checkpoints, and its reference."""

import math
import os
import re
import socket
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Gemma2Config, Gemma2ForCausalLM

from flows.config.loading import load_recipe
from flows.fusion import fusion
from infra.errors import BadInput
from tasks.training import checkpoints, zero
from tasks.training.checkpoints import finished_checkpoints
from tasks.training.qlora import base_of
from tests import tiny
from tests.patience import join
from tests.test_quantised import needs_bitsandbytes
from tests.test_resume import SERVER, job, records, result, width, work
from tests.wrpo.references import log_probs, stored

STEPS, HALF = 8, 4
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
heavy = pytest.mark.heavy
ZERO = {
    f"zero {zero}{' offloaded' if offload else ''}": {"deepspeed": {"zero": zero, "offload": offload}}
    for zero in (2, 3)
    for offload in (False, True)
}
KINDS = {"plain": {}} | ZERO
LORA = {"rank": 2, "alpha": 4.0, "targets": []}
QLORA = LORA | {"base": "nf4"}


class Collectives(TorchDispatchMode):
    """Counts the elements of the largest tensor that any collective operation gets."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            given = (leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor))
            self.largest = max(self.largest, *(leaf.numel() for leaf in given), 0)
        return func(*args, **(kwargs or {}))


def count_gathered(out: Path, rank: int) -> None:
    """Writes into `out` how many elements each writing and reading of a checkpoint exchanged at most."""
    for name in ("write_checkpoint", "restore_checkpoint"):
        plain = getattr(checkpoints, name)
        setattr(checkpoints, name, partial(counted, plain, out / f"{name}-{rank}.txt"))


def counted(plain, file: Path, *given) -> None:
    with Collectives() as seen:
        plain(*given)
    with file.open("a") as lines:
        print(seen.largest, file=lines)


def gathered(out: Path) -> dict[str, int]:
    return {file.name: max(map(int, file.read_text().split())) for file in out.glob("*_checkpoint-*.txt")}


def member(rank: int, world: int, port: int, room: str, given: dict, out: Path) -> None:
    out.mkdir(exist_ok=True)
    count_gathered(out, rank)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    try:
        work(room, given, out, None)
    except (BadInput, FloatingPointError) as problem:
        (out / f"refused-{rank}.txt").write_text(str(problem))
        os._exit(1)  # torchrun ends what hangs in a group that falls apart


def together(room: str, given: dict, out: Path, fails: bool = False, world: int = 2) -> None:
    """What torchrun does, without loading torch anew in each of the processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = given | {"how": given["how"] | {"processes": world}}
    group = [SERVER.Process(target=member, args=(rank, world, port, room, given, out)) for rank in range(world)]
    [process.start() for process in group]
    for process in group:
        join(process, out)
    assert [process.exitcode != 0 for process in group] == [fails] * world


def alone(room: str, given: dict, out: Path) -> None:
    process = SERVER.Process(target=work, args=(room, given | {"how": given["how"] | {"deepspeed": None}}, out, None))
    process.start()
    join(process, out)
    assert process.exitcode == 0


def settings(room: str, folder: Path, kind: str, **what) -> dict:
    """Eleven rows in batches of four, in fours of one: the last batch of an epoch is one short."""
    lora, how = what.get("lora"), KINDS[kind] | {"device_batch_size": 1, "checkpoint_steps": HALF}
    given = job(room, folder, steps=STEPS, lora=lora, **how)
    model = tiny.llama(hidden=width(base_of(what)))  # without dropout, of which each process would draw its own
    tiny.save(model, folder / "model")
    return given | {"what": given["what"] | what}


def whole(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model/model.safetensors")


def agree(steps: list[dict], expected: list[dict]) -> None:
    assert len(steps) == len(expected)
    for step, same in zip(steps, expected, strict=True):
        for name in same.keys() - {"tokens" if "alpha" not in same else "", "accuracy_weighted", "accuracy_own"}:
            if not (
                same["step"] <= 2 and "accuracy" in name
            ):  # a policy that is its reference: who is ahead is rounding
                assert step[name] == pytest.approx(same[name], rel=1e-4, abs=1e-4), (name, same["step"])


GROWING = {("wrpo", "zero 3"), ("sft", "plain")}  # goes on in four processes too
CASES = [
    pytest.param("wrpo", "plain", {}),
    pytest.param("wrpo", "zero 2", {}, marks=needs_deepspeed),
    pytest.param("wrpo", "zero 3", {}, marks=needs_deepspeed),
    pytest.param("sft", "plain", {}, marks=heavy),
    pytest.param("wrpo", "zero 2", {"lora": LORA}, marks=[needs_deepspeed, heavy]),
    pytest.param("wrpo", "zero 3", {"lora": LORA}, marks=[needs_deepspeed, heavy]),
    *[pytest.param(room, "plain", {"lora": QLORA}, marks=[needs_bitsandbytes, heavy]) for room in ("sft", "wrpo")],
    *[pytest.param("sft", kind, {}, marks=[needs_deepspeed, heavy]) for kind in ZERO],
    *[pytest.param("wrpo", kind, {}, marks=[needs_deepspeed, heavy]) for kind in ZERO if "offloaded" in kind],
]


@pytest.mark.parametrize(("room", "kind", "what"), CASES)
def test_two_processes_make_the_steps_of_one_and_resume(room, kind, what, tmp_path):
    given, out, again = settings(room, tmp_path, kind, **what), tmp_path / "out", tmp_path / "again"
    alone(room, given, tmp_path / "alone")
    together(room, given, out)
    agree(result(out)[1], result(tmp_path / "alone")[1])
    for name, value in whole(tmp_path / "alone").items():
        torch.testing.assert_close(whole(out)[name], value, rtol=1e-3, atol=1e-4)
    checkpoint, _last = finished_checkpoints(out)
    assert {path.suffix for path in checkpoint.rglob("*") if path.is_file()} == {".safetensors", ".json"}
    assert holds_halves(checkpoint)
    together(room, given | {"resume": str(checkpoint)}, again)
    assert result(again) == result(out)
    # Only a step count, a flag and the like: no tensor of the model was gathered.
    assert gathered(again).keys() == {
        f"{what}_checkpoint-{rank}.txt" for what in ("write", "restore") for rank in (0, 1)
    }
    assert max(*gathered(again).values(), *gathered(out).values()) <= 1
    if kind == "zero 3":  # and under another number of processes, of another kind
        alone(room, given | {"resume": str(checkpoint)}, tmp_path / "one")
        agree(result(tmp_path / "one")[1], result(out)[1])
    if (room, kind) in GROWING and not what:
        together(room, given | {"resume": str(checkpoint)}, tmp_path / "four", world=4)
        agree(result(tmp_path / "four")[1], result(out)[1])


def holds_halves(checkpoint: Path) -> bool:
    """Whether neither of the two processes wrote much more than half of the weights, or of the optimizer's tensors."""
    sizes = {name: [file.stat().st_size for file in checkpoint.glob(f"{name}-*")] for name in ("model", "optimizer")}
    return all(len(found) == 2 and max(found) < 0.6 * sum(found) for found in sizes.values())


@pytest.mark.parametrize(
    "kind",
    ["plain", pytest.param("zero 3", marks=needs_deepspeed), pytest.param("zero 2", marks=[needs_deepspeed, heavy])],
)
def test_a_training_of_one_process_resumes_in_two(kind, tmp_path):
    """Its checkpoint holds whole tensors, as all checkpoints did before."""
    given = settings("wrpo", tmp_path, kind)
    alone("wrpo", given, tmp_path / "one")
    checkpoint, _last = finished_checkpoints(tmp_path / "one")
    assert {"model.safetensors", "optimizer.safetensors"} < {file.name for file in checkpoint.iterdir()}
    together("wrpo", given | {"resume": str(checkpoint)}, tmp_path / "two")
    one, two = (result(tmp_path / name)[1] for name in ("one", "two"))
    assert two[:HALF] == one[:HALF]  # out of the checkpoint
    assert [step["alpha"] for step in two] == [step["alpha"] for step in one]
    agree(two, one)


def test_a_loss_that_is_nan_in_one_process_stops_all_with_its_rows(tmp_path):
    given = settings("wrpo", tmp_path, "plain", objective={"kind": "wrpo-simpo"})
    given["how"]["checkpoint_steps"] = 1
    broken = tiny.llama()  # a z stands in one record alone, which its first epoch comes to in one of three steps
    broken.model.embed_tokens.weight.data[tiny.tokenizer().convert_tokens_to_ids("z")] = float("nan")
    tiny.save(broken, tmp_path / "model")
    together("wrpo", given, tmp_path / "out", fails=True)
    said = {(tmp_path / f"out/refused-{rank}.txt").read_text() for rank in range(2)}
    (message,) = said
    assert re.fullmatch(r"loss .*nan.* at optimizer step [0-2]; prompt ids: copy: xyz", message)
    assert not (tmp_path / "out/model").exists()
    assert len(finished_checkpoints(tmp_path / "out")) == min(int(message.split(" step ")[1][0]), 2)


@needs_deepspeed
@pytest.mark.parametrize("kind", ["zero 2", pytest.param("zero 3", marks=heavy)])
def test_in_bf16_under_deepspeed_the_policy_begins_as_its_reference(kind, tmp_path):
    """Weights that DeepSpeed rounds to bf16 are others than those the reference was computed with."""
    given = job("wrpo", tmp_path, steps=2, device_batch_size=2, checkpoint_steps=0, **KINDS[kind])
    tiny.save(tiny.llama(layers=6), tmp_path / "model")
    made = stored(tmp_path / "model", records("wrpo"), tmp_path / "reference", precision="bf16")
    given = given | {"what": given["what"] | {"precision": "bf16"}, "reference": [str(made)]}
    together("wrpo", given, tmp_path / "out")
    first, _ = pq.read_table(tmp_path / "out/steps.parquet").to_pylist()
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)


@heavy
@pytest.mark.parametrize("kind", ["plain", *[pytest.param(kind, marks=needs_deepspeed) for kind in ZERO]])
def test_a_reference_of_other_weights_is_refused_in_a_group_too(kind, tmp_path):
    given = settings("wrpo", tmp_path, kind)
    tiny.save(tiny.llama(seed=1), tmp_path / "model")
    together("wrpo", given, tmp_path / "out", fails=True)
    assert all("is stored as" in (tmp_path / f"out/refused-{rank}.txt").read_text() for rank in range(2))


@heavy
@needs_deepspeed
def test_a_split_model_that_does_not_fit_the_layout_is_trained_padded(tmp_path):
    """Gemma 2 refuses the packed attention inside its first pass, in every process."""
    given = settings("wrpo", tmp_path, "zero 3")
    size = {"vocab_size": tiny.llama().config.vocab_size, "hidden_size": 32, "intermediate_size": 64, "head_dim": 16}
    size |= {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.2}
    tiny.save(
        Gemma2ForCausalLM(Gemma2Config(**size, bos_token_id=1, eos_token_id=5, pad_token_id=0)), tmp_path / "model"
    )
    made = stored(tmp_path / "model", records("wrpo"), tmp_path / "reference")
    given |= {"reference": [str(made)]}
    alone("wrpo", given, tmp_path / "alone")
    together("wrpo", given, tmp_path / "out")
    agree(result(tmp_path / "out")[1], result(tmp_path / "alone")[1])


@pytest.mark.parametrize("kind", ["plain", pytest.param("zero 3", marks=needs_deepspeed)])
def test_two_processes_share_the_reference_and_find_the_same_numbers(kind, tmp_path):
    """In batches of one row: the one has six, the other five, and under ZeRO 3 every pass needs both."""
    given = job("wrpo", tmp_path, device_batch_size=1, **KINDS[kind])
    made = {"model": given["model"], "rows": str(tmp_path / "reference/responses.parquet"), "threads": 1}
    made |= {"what": {"max_length": 64, "precision": "fp32"}, "how": given["how"]}
    (tmp_path / "two").mkdir()
    together("reference", made, tmp_path / "two")
    parts = sorted((tmp_path / "two").glob("part-*"))
    assert [part.name[:8] for part in parts] == ["part-000", "part-001"]
    found = {name: value for part in parts for name, value in log_probs(part).items()}
    expected = log_probs(Path(given["reference"][0]))
    assert found.keys() == expected.keys() and len(found) == sum(pq.read_metadata(part).num_rows for part in parts)
    for name, (value, tokens) in expected.items():
        assert found[name] == (pytest.approx(value, rel=1e-5), tokens)
    assert len(records("wrpo")) % 2 == 1


def test_without_the_package_deepspeed_is_refused(monkeypatch):
    monkeypatch.setattr(zero, "find_spec", lambda package: None)
    with pytest.raises(BadInput, match=r"how\.deepspeed: the package deepspeed is not installed"):
        zero.zero_config({"zero": 2, "offload": False}, "fp32")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            "how.wrpo.processes=3",
            "wrpo.batch_size 16 is not a multiple of how.wrpo.device_batch_size 16 times how.wrpo",
        ),
        ("how.wrpo.deepspeed={ zero = 1 }", "how.wrpo.deepspeed.zero: Input should be 2 or 3"),
    ],
)
def test_a_recipe_asks_for_what_a_group_can_do(change, complaint):
    with pytest.raises(BadInput, match=complaint):
        load_recipe("demo", [change])


def test_a_group_changes_no_address():
    group = "how.wrpo={ processes = 2, device_batch_size = 8, deepspeed = { zero = 3 } }"
    assert fusion(load_recipe("demo", [group])).address == fusion(load_recipe("demo")).address


def test_a_groups_row_order_is_that_of_one_process_with_fillers():
    from accelerate.data_loader import SeedableRandomSampler

    from tasks.training.processes import SharedOrder

    one, group = SeedableRandomSampler(range(11), data_seed=5), SharedOrder(11, 1, seed=5)
    for epoch in (0, 1, 4):
        [order.set_epoch(epoch) for order in (one, group)]
        assert list(group) == [*one, 11] and len(group) == 12
