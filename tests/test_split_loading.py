"""A model that ZeRO 3 splits: loaded to the weights of its files, in about one copy of host memory for all processes."""

import json
import os
import socket
import threading
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed import barrier, destroy_process_group
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from infra.errors import BadInput
from tests import tiny
from tests.patience import join
from tests.test_resume import SERVER

pytestmark = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
MOE = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "num_local_experts": 4, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


def member(work, rank: int, world: int, port: int, *given) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    from accelerate import PartialState

    from tasks.training import zero

    torch.set_num_threads(1)
    PartialState(cpu=True)
    begun = zero.begin_split_loading(zero.forward_config({"zero": 3, "offload": False}, "fp32"))
    work(rank, *given)
    del begun
    destroy_process_group()


def start(work, world: int, *given) -> list:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    group = [SERVER.Process(target=member, args=(work, rank, world, port, *given)) for rank in range(world)]
    [process.start() for process in group]
    return group


def compare(rank: int, folders: list[Path], out: Path) -> None:
    """Writes for each model whether its parameters, gathered one by one, are those that transformers loads."""
    import deepspeed

    from tasks.training import split_loading

    for folder in folders:
        direct = split_loading.fill_directly(folder) is not None
        model = split_loading.load_split(folder)
        split = all(parameter.numel() == 0 for parameter in model.parameters())
        found = {}
        for name, parameter in model.named_parameters():
            with deepspeed.zero.GatheredParameters([parameter]):
                found[name] = parameter.detach().clone()
        found |= {name: value.clone() for name, value in model.named_buffers()}
        if rank == 0:
            save_file(found, out / f"{folder.name}.safetensors")
            (out / f"{folder.name}.json").write_text(json.dumps({"split": split, "direct": direct}))


def test_split_weights_are_those_of_the_files(tmp_path):
    """Directly from one file, from several, with a tied head, and by transformers where tensors must be converted."""
    torch.manual_seed(0)
    plain, tied = tiny.llama(), tiny.llama(seed=1)
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    names = {"one": plain, "several": plain, "tied": tied, "experts": MixtralForCausalLM(MixtralConfig(**MOE))}
    for name, model in names.items():
        model.save_pretrained(tmp_path / name, **({"max_shard_size": "20KB"} if name == "several" else {}))
    assert len(list((tmp_path / "several").glob("*.safetensors"))) > 2
    for process in start(compare, 2, [tmp_path / name for name in names], tmp_path):
        join(process, tmp_path)
        assert process.exitcode == 0
    for name in names:
        found = load_file(tmp_path / f"{name}.safetensors")
        expected = AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32)
        tensors = dict(expected.named_parameters()) | dict(expected.named_buffers())
        assert found.keys() == tensors.keys() and all(torch.equal(found[key], tensors[key]) for key in found)
        assert json.loads((tmp_path / f"{name}.json").read_text()) == {"split": True, "direct": name != "experts"}


def refuse(rank: int, folder: Path, out: Path) -> None:
    from tasks.training.split_loading import load_split

    try:
        load_split(folder)
    except BadInput as problem:
        (out / f"said-{rank}.txt").write_text(str(problem))


def test_a_cut_file_is_refused_by_every_process(tmp_path):
    file = tiny.folder(tmp_path / "model") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    for process in start(refuse, 2, tmp_path / "model", tmp_path):
        join(process, tmp_path)
    assert all(
        f"model: {tmp_path}/model cannot be loaded" in (tmp_path / f"said-{rank}.txt").read_text() for rank in (0, 1)
    )


def load_and_wait(rank: int, split: bool, small: Path, large: Path, out: Path) -> None:
    """Loads a small model first, so that what libraries allocate once is there before the measurement."""
    from tasks.training import zero
    from tasks.training.split_loading import load_split

    load = load_split if split else partial(AutoModelForCausalLM.from_pretrained, dtype=torch.float32)
    if not split:
        zero.load_whole_again()
    load(small)
    barrier()
    (out / f"ready-{rank}").touch()
    while not (out / "go").exists():
        time.sleep(0.01)
    model = load(large)
    barrier()
    (out / f"loaded-{rank}").touch()
    while not (out / "end").exists():
        time.sleep(0.01)
    assert model is not None


def proportional(group: list) -> int:
    """PSS of all processes in bytes: a page that several processes map counts once."""
    rows = (line for process in group for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines())
    return 1024 * sum(int(row.split()[1]) for row in rows if row.startswith("Pss:"))


def peak_while_loading(split: bool, world: int, small: Path, large: Path, out: Path) -> tuple[int, int]:
    """(peak, held afterwards) in bytes beyond what the group took before."""
    out.mkdir()
    group = start(load_and_wait, world, split, small, large, out)
    wait_for(out, "ready", world, group)
    before, seen, done = proportional(group), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(proportional(group))

    watching = threading.Thread(target=watch)
    watching.start()
    (out / "go").touch()
    wait_for(out, "loaded", world, group)
    done.set()
    watching.join()
    after = proportional(group)
    (out / "end").touch()
    [join(process, out) for process in group]
    return max(seen) - before, after - before


def wait_for(out: Path, name: str, world: int, group: list) -> None:
    while len(list(out.glob(f"{name}-*"))) < world:
        assert all(process.is_alive() for process in group)
        time.sleep(0.01)


def model_of(megabytes: int, folder: Path) -> int:
    """Saves a random Llama in bf16, as models are published; returns its bytes in fp32, about so many megabytes."""
    layers = 24 if megabytes > 500 else 12
    hidden = round((megabytes * 1e6 / 4 / layers / 13) ** 0.5 / 64) * 64  # a layer has about 13 x hidden² weights
    config = LlamaConfig(
        vocab_size=256, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=4, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.bfloat16().save_pretrained(folder)
    return sum(parameter.numel() * 4 for parameter in model.parameters())


@pytest.mark.parametrize("megabytes", [200, pytest.param(1000, marks=pytest.mark.heavy)])
def test_four_processes_hold_one_copy_while_they_load(megabytes, tmp_path, capsys):
    small = tiny.folder(tmp_path / "small")
    size = model_of(megabytes, tmp_path / "large")
    peak, held = peak_while_loading(True, 4, small, tmp_path / "large", tmp_path / "split")
    with capsys.disabled():
        print(f"\n4 processes load {size / 1e6:,.0f} MB: PSS peak {peak / size:.2f} copies, held {held / size:.2f}")
    assert 0.9 * size < held and peak <= 1.5 * size
    if megabytes > 500:  # the measurement sees what it is for
        peak, held = peak_while_loading(False, 4, small, tmp_path / "large", tmp_path / "plain")
        with capsys.disabled():
            print(f"each by itself: PSS peak {peak / size:.2f} copies, held {held / size:.2f}")
        assert held > 3.5 * size
