"""Exact resume: a training killed anywhere and started again ends in the very weights and log of the unbroken one."""

import hashlib
import itertools
import multiprocessing
import os
import random
import re
import signal
import threading
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from flows.config.loading import load_recipe
from infra.ending import SAVING
from infra.errors import OutOfMemory
from tasks.loading import report_load_errors
from tasks.program import Progress
from tasks.records import PREFERENCE_RECORD, SFT_RECORD
from tasks.training.checkpoints import finished_checkpoints, restore_checkpoint, write_checkpoint
from tasks.training.qlora import base_of
from tasks.training.random_states import put_random_states, random_states
from tests import tiny
from tests.patience import join
from tests.test_quantised import needs_bitsandbytes
from tests.wrpo.references import stored

STEPS, EVERY = 60, 4
LORA = {
    name: {"rank": 2, "alpha": 4.0, "targets": [], "base": base} for name, base in (("lora", "full"), ("qlora", "nf4"))
}
KINDS = [pytest.param(f"wrpo {name}", marks=pytest.mark.heavy) for name in LORA]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tasks.wrpo.train", "tasks.sft.train", *["deepspeed"] * bool(find_spec("deepspeed"))])


def records(room: str) -> list[dict]:
    """Eleven rows, so that epochs end inside an accumulation window of two batches of two."""
    texts = [
        (f"copy: {word}", word) for word in ("a", "bc", "def", "ghij", "k l", "mno", "pq", "r", "stu", "vw", "xyz")
    ]
    rows = []
    for prompt, answer in texts:
        row = {"prompt_id": prompt, "messages": [{"role": "user", "content": prompt}], "source": "s"}
        if room == "sft":
            rows.append(row | {"response": answer, "score": 1.0})
        else:
            answers = {"source_best": answer, "own_best": answer[::-1] + "?", "own_worst": "no"}
            rows.append(row | answers | {f"{name}_score": 1.0 for name in answers})
    return rows


def job(room: str, folder: Path, steps: int = STEPS, lora: dict | None = None, **how) -> dict:
    file, schema = folder / "records.parquet", {"sft": SFT_RECORD, "wrpo": PREFERENCE_RECORD}[room]
    pq.write_table(pa.Table.from_pylist(records(room), schema=schema), file)
    base = base_of({"lora": lora})
    tiny.save(dropping(room, hidden=width(base)), folder / "model")
    what = {
        "learning_rate": 1e-3, "epochs": 99, "batch_size": 4, "max_length": 64, "warmup_ratio": 0.1, "max_steps": steps,
        "precision": "fp32", "lora": lora,
        **({"objective": {"kind": "wrpo", "beta": 0.3, "alpha": 0.5}} if room == "wrpo" else {}),
    }  # fmt: skip
    settings = {
        "device_batch_size": 2, "gradient_checkpointing": False, "checkpoint_steps": EVERY,
        **({"layout": "shared-prompt"} if room == "wrpo" else {}),
    }  # fmt: skip
    inputs = {"records" if room == "sft" else "pairs": [str(file)], "model": str(folder / "model")}
    if room == "wrpo":
        inputs["reference"] = [str(stored(folder / "model", records(room), folder / "reference", base=base))]
    return {**inputs, "what": what, "how": settings | how, "seed": 5, "threads": 1}


def width(base: str) -> int:
    """Of the models here; whole blocks of weights are rounded."""
    return 64 if base == "nf4" else 32


def dropping(room: str, **size: int):
    """SFT keeps dropout, so that its random states matter; WRPO switches it off."""
    model = tiny.llama(**size)
    model.config.attention_dropout = 0.3 if room == "sft" else 0.0
    return model


def work(room: str, given: dict, out: Path, doom: tuple | None) -> None:
    """Runs in a process of its own, which kills itself `doom` steps and seconds after its start, if it has one."""
    if doom:
        kill_after(*doom)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    out.mkdir(exist_ok=True)
    main = import_module({"reference": "tasks.wrpo.reference"}.get(room, f"tasks.{room}.train")).main
    main(given, out, Progress(out))


def kill_after(steps: int, seconds: float, what: int = signal.SIGKILL) -> None:
    """SIGKILL, or `what`, some moments after so many optimizer steps: between two, inside one, or while one is saved."""
    made, killer = itertools.count(1), threading.Timer(seconds, os.kill, (os.getpid(), what))
    killer.daemon = True
    now = killer.start if seconds else lambda: os.kill(os.getpid(), what)
    register_optimizer_step_post_hook(lambda *_: now() if next(made) == steps else None)


def start(room: str, given: dict, out: Path, doom: tuple | None = None):
    process = SERVER.Process(target=work, args=(room, given, out, doom))
    process.start()
    return process


def run(room: str, given: dict, out: Path, doom: tuple | None = None) -> int:
    process = start(room, given, out, doom)
    join(process, out)
    return process.exitcode


def result(out: Path) -> tuple[str, list[dict]]:
    weights = hashlib.sha256((out / "model/model.safetensors").read_bytes()).hexdigest()
    return weights, pq.read_table(out / "steps.parquet").to_pylist()


@pytest.fixture(scope="module", params=["wrpo", "sft", *KINDS])
def unbroken(request, tmp_path_factory):
    room, _, lora = request.param.partition(" ")
    folder = tmp_path_factory.mktemp(room)
    given = job(room, folder, lora=LORA.get(lora))
    assert run(room, given, folder / "out") == 0
    return room, given, result(folder / "out")


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.heavy)])
def test_random_kills_end_in_the_same_weights_losses_and_log(unbroken, kills, tmp_path):
    room, given, expected = unbroken
    chance, resumed, out = random.Random(kills), set(), tmp_path / "out"
    for number in range(kills):
        resumed |= {path.name for path in finished_checkpoints(out)[-1:]}
        doom = chance.randint(1, max(STEPS // kills, EVERY + 2)), chance.uniform(0, 0.02)
        print(f"seed {kills}, kill {number}: from {max(resumed, default='nothing')}, steps and seconds {doom}")
        assert run(room, given, out, doom) == -signal.SIGKILL
    assert not (out / "model").exists() and len(resumed) > 1
    assert run(room, given, out) == 0
    assert result(out) == expected


@needs_bitsandbytes
@pytest.mark.parametrize("room", ["sft", "wrpo"])
def test_a_base_is_rounded_alike_when_its_training_resumes(room, tmp_path):
    given, out = job(room, tmp_path, steps=10, lora=LORA["qlora"], checkpoint_steps=3), tmp_path / "out"
    assert run(room, given, tmp_path / "unbroken") == 0
    for steps in (4, 2):  # at step 4, and from step 3 on at step 5
        assert run(room, given, out, (steps, 0)) == -signal.SIGKILL
    assert run(room, given, out) == 0
    assert result(out) == result(tmp_path / "unbroken")
    assert all("lora_" in name for name in load_file(finished_checkpoints(out)[-1] / "model.safetensors"))


def test_sigterm_saves_first_and_the_run_goes_on_from_there(unbroken, tmp_path):
    room, given, expected = unbroken
    given, out = {**given, "how": given["how"] | {"checkpoint_steps": 0}}, tmp_path / "out"
    process = start(room, given, out)
    while not ((out / "progress.json").exists() and '"steps"' in (out / "progress.json").read_text()):
        assert process.is_alive()
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGTERM)
    join(process, out)
    (saved,) = finished_checkpoints(out)
    assert process.exitcode == 128 + signal.SIGTERM and int(saved.name) < STEPS
    assert (out / SAVING).exists()
    elsewhere = tmp_path / "elsewhere"
    assert run(room, given | {"resume": str(saved)}, elsewhere) == 0
    assert result(elsewhere) == expected


def test_sigterm_at_the_last_step_is_not_lost(unbroken, tmp_path):
    """Nothing is left to train then, but the model was not written yet."""
    room, given, expected = unbroken
    process = start(room, given, tmp_path / "out", (STEPS, 0, signal.SIGTERM))
    join(process, tmp_path)
    (*_, saved) = finished_checkpoints(tmp_path / "out")
    assert process.exitcode == 128 + signal.SIGTERM and int(saved.name) == STEPS
    assert run(room, given, tmp_path / "out") == 0
    assert result(tmp_path / "out") == expected


def test_sigterm_at_a_last_step_inside_an_epoch_leaves_none_to_be_made_up(tmp_path):
    given = job("wrpo", tmp_path, steps=4)  # an epoch has three
    assert run("wrpo", given, tmp_path / "unbroken") == 0
    process = start("wrpo", given, tmp_path / "out", (4, 0, signal.SIGTERM))
    join(process, tmp_path)
    assert process.exitcode == 128 + signal.SIGTERM and finished_checkpoints(tmp_path / "out")[-1].name == "000000004"
    assert run("wrpo", given, tmp_path / "out") == 0
    assert result(tmp_path / "out") == result(tmp_path / "unbroken")


@pytest.mark.parametrize("every", [0, EVERY])
def test_an_end_between_the_last_step_and_the_model_loses_no_step(every, unbroken, tmp_path, monkeypatch):
    """However often checkpoints are due: the last step always leaves one."""
    room, given, expected = unbroken
    given, out = {**given, "how": given["how"] | {"checkpoint_steps": every}}, tmp_path / "out"
    module = import_module(f"tasks.{room}.train")

    def end(*_):
        raise InterruptedError("the power is gone")

    out.mkdir()
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(module, "keep_model", end)
        module.main(given, out, Progress(out))
    assert int(finished_checkpoints(out)[-1].name) == STEPS and not (out / "model").exists()
    with monkeypatch.context() as patch:
        patch.setattr("transformers.Trainer.training_step", end)  # no step is made again
        module.main(given, out, Progress(out))
    assert result(out) == expected


def test_a_checkpoint_holds_no_pickle_and_only_the_last_two_stay(unbroken, tmp_path):
    room, given, _ = unbroken
    given = given | {"what": given["what"] | {"max_steps": 18}}
    assert run(room, given, tmp_path / "out") == 0
    assert [path.name for path in finished_checkpoints(tmp_path / "out")] == ["000000016", "000000018"]
    assert {path.name for path in finished_checkpoints(tmp_path / "out")[-1].iterdir()} == {
        "model.safetensors",
        "optimizer.safetensors",
        "random-0.safetensors",
        "schedule.json",
        "trainer_state.json",
        *["along"] * (room == "wrpo"),
    }


def test_a_checkpoint_cut_off_before_it_is_whole_does_not_count(tmp_path, monkeypatch):
    from tasks.wrpo.train import main

    def cut(folder):
        (folder / "optimizer.safetensors").unlink()
        raise InterruptedError("the power is gone")

    monkeypatch.setattr("tasks.training.checkpoints.flush_folder", cut)
    (tmp_path / "out").mkdir()
    with pytest.raises(InterruptedError):
        main(job("wrpo", tmp_path), tmp_path / "out", Progress(tmp_path / "out"))
    assert finished_checkpoints(tmp_path / "out") == []


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_checkpoint_goes_on_with_another_number_of_parameter_groups(before, after, tmp_path):
    """Of an adapter's, one is empty, and DeepSpeed drops it."""
    args = SimpleNamespace(deepspeed=None, world_size=1, process_index=0)
    state = SimpleNamespace(global_step=1, is_world_process_zero=True, save_to_json=lambda file: None)

    def begun(groups: int) -> dict:
        model = torch.nn.Linear(2, 2)
        optimizer = torch.optim.AdamW([{"params": list(model.parameters())}, {"params": []}][:groups], lr=0.5)
        falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"model": model, "optimizer": optimizer, "lr_scheduler": falling}

    def step(parts: dict) -> list[float]:
        parts["model"](torch.ones(2)).sum().backward()
        parts["optimizer"].step()
        parts["lr_scheduler"].step()
        return parts["lr_scheduler"].get_last_lr()

    one, other = begun(before), begun(after)
    step(one)
    write_checkpoint(tmp_path, one, args, state)
    restore_checkpoint(finished_checkpoints(tmp_path)[0], other, args)
    assert other["lr_scheduler"].get_last_lr() == [0.25] * after
    assert step(other) == [0.5 / 3] * after and step(one) == [0.5 / 3] * before


def test_random_states_come_back(tmp_path):
    draw = lambda: (random.gauss(0, 1), float(np.random.randn()), torch.rand(1).item())
    draw()  # an odd number of gaussians: the second of a pair is waiting in both generators
    save_file(random_states(), tmp_path / "random-0.safetensors")
    first = [draw() for _ in range(3)]
    put_random_states(tmp_path, 0)
    assert [draw() for _ in range(3)] == first


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(tmp_path):
    given = job("wrpo", tmp_path)
    given["what"]["learning_rate"] = 1e30  # the first steps of the warm-up still are numbers
    given["how"] = {**job("wrpo", tmp_path)["how"], "checkpoint_steps": 1}
    assert run("wrpo", given, tmp_path / "out") == 1
    kept = finished_checkpoints(tmp_path / "out")
    assert kept
    for folder in kept:
        assert all(torch.isfinite(value).all() for value in load_file(folder / "model.safetensors").values())
    assert not (tmp_path / "out/model").exists()


@pytest.mark.parametrize("where", ["load_base", "make_ready", "adapted"])
@pytest.mark.parametrize("program", ["train", "reference"])
def test_out_of_memory_names_settings_of_the_recipe(program, where, tmp_path, monkeypatch):
    def too_much(*_, **__):
        raise torch.OutOfMemoryError("tried to allocate too much")

    module, given = import_module(f"tasks.wrpo.{program}"), job("wrpo", tmp_path)
    if not hasattr(module, where):
        pytest.skip("a reference has no adapter")
    monkeypatch.setattr(module, where, too_much)
    given |= {"rows": str(tmp_path / "reference/responses.parquet")}
    (tmp_path / "out").mkdir()
    with pytest.raises(
        OutOfMemory, match=r"how.wrpo.device_batch_size \(2\).*wrpo.max_length \(64\).*too much"
    ) as said:
        module.main(given, tmp_path / "out", Progress(tmp_path / "out"))
    named = re.findall(r"\b(?:how\.)?wrpo\.[a-z_.]+", str(said.value))
    assert len(named) == 6
    for name in named:
        value = load_recipe("demo")
        for part in name.split("."):
            assert part in type(value).model_fields
            value = getattr(value, part)


def test_out_of_memory_while_files_are_read_is_not_the_files_fault():
    with pytest.raises(MemoryError), report_load_errors("model: x"):
        raise MemoryError


def test_out_of_memory_in_a_step_is_the_user_s_to_mend(tmp_path, monkeypatch):
    from transformers import Trainer

    from tasks.wrpo.train import main

    def training_step(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried too much")

    monkeypatch.setattr(Trainer, "training_step", training_step)
    (tmp_path / "out").mkdir()
    with pytest.raises(OutOfMemory, match=r"out of memory: lower how.wrpo.device_batch_size"):
        main(job("wrpo", tmp_path), tmp_path / "out", Progress(tmp_path / "out"))
