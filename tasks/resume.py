"""Checkpoints from which a training goes on bit for bit, and the callback that writes them. No pickle anywhere.

A checkpoint is a folder `checkpoints/<step>`, written beside and renamed: whole or absent. It holds what Trainer reads
itself on resume (`model.safetensors`, `trainer_state.json`: step, log, steps of the whole run) and what this callback
restores: the optimizer's tensors, the schedule, and the random states of every process.
"""

import json
import os
import random
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback

from infra.errors import BadInput

FOLDER, KEPT = "checkpoints", 2
STOPPED = 128 + signal.SIGTERM


def newest(job: dict, out: Path) -> Path | None:
    """Where the training goes on: the last whole checkpoint that this program left, or the one it was given."""
    own = finished(out)
    return own[-1] if own else Path(job["resume"]) if job.get("resume") else None


def finished(out: Path) -> list[Path]:
    return sorted(path for path in (out / FOLDER).glob("*") if re.fullmatch("[0-9]{9}", path.name))


class Checkpoints(TrainerCallback):
    """Writes one every `every` optimizer steps (0: none) and on SIGTERM, and restores one. Stands last among callbacks:
    a step that another one stops for its loss is never kept."""

    def __init__(self, out: Path, every: int, resume: Path | None):
        self.out, self.every, self.resume = out, every, resume
        self.parts: dict = {}
        self.terminated = False

    def terminate(self, *_) -> None:
        self.terminated = True

    def on_train_begin(self, args, state, control, **parts):
        """Trainer has put back the weights and the step by now, and knows where in the data it is."""
        if self.every and args.deepspeed:  # shards, written by pickle
            raise BadInput("how.checkpoint_steps: no checkpoints are written under DeepSpeed; set it to 0")
        signal.signal(signal.SIGTERM, self.terminate)
        self.parts = {name: parts[name] for name in ("model", "optimizer", "lr_scheduler")}
        if self.resume:
            restore(self.resume, self.parts, args.process_index)

    def on_step_begin(self, args, state, control, **parts):
        """Once more at the first step inside an epoch: skipping its batches may have drawn random numbers."""
        if self.resume and state.epoch % 1:
            put_random_states(self.resume, args.process_index)
        self.resume = None

    def on_log(self, args, state, control, logs, **parts):
        """After the step's row is in the log; the last step needs no checkpoint, its model follows."""
        if "loss" not in logs:
            return
        due = self.every and state.global_step % self.every == 0 and state.global_step < state.max_steps
        stop = anywhere(self.terminated, args)
        if due or stop:
            write(self.out, self.parts, args, state)
        if stop:
            raise SystemExit(STOPPED)


def write(out: Path, parts: dict, args, state) -> None:
    """All processes write their random states, the first one the rest; then it is renamed, and older ones go."""
    target = out / FOLDER / f"{state.global_step:09d}"
    draft = target.with_name(f"draft-{target.name}")
    draft.mkdir(parents=True, exist_ok=True)
    save_file(random_states(), draft / f"random-{args.process_index}.safetensors")
    if state.is_world_process_zero:
        model = getattr(parts["model"], "module", parts["model"])
        save_file(trained(model), draft / "model.safetensors")
        tensors, rest = flat(parts["optimizer"].state_dict())
        save_file(tensors, draft / "optimizer.safetensors")
        schedule = parts["lr_scheduler"].state_dict()
        (draft / "schedule.json").write_text(json.dumps({"optimizer": rest, "schedule": schedule}, indent=1))
        state.save_to_json(str(draft / "trainer_state.json"))
    together(args)
    if state.is_world_process_zero:
        flush(draft)
        os.replace(draft, target)
        for old in finished(out)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    together(args)


def restore(folder: Path, parts: dict, process: int) -> None:
    tensors, saved = load_file(folder / "optimizer.safetensors"), json.loads((folder / "schedule.json").read_text())
    parts["optimizer"].load_state_dict(unflat(tensors, saved["optimizer"]))
    parts["lr_scheduler"].load_state_dict(saved["schedule"])
    put_random_states(folder, process)


def trained(model: torch.nn.Module) -> dict[str, Tensor]:
    """What training changes: the parameters that learn (each once, however often they are tied), and the buffers."""
    kept = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    stored = model.state_dict()
    buffers = {name: value for name, value in model.named_buffers() if name in stored}
    return {name: value.contiguous() for name, value in (kept | buffers).items()}


def flat(state: dict) -> tuple[dict[str, Tensor], dict]:
    """An optimizer's state as tensors under "<parameter>.<name>", and the plain values beside them."""
    tensors, plain = {}, {}
    for parameter, values in state["state"].items():
        for name, value in values.items():
            kind = tensors if isinstance(value, Tensor) else plain
            kind[f"{parameter}.{name}"] = value.contiguous() if isinstance(value, Tensor) else value
    return tensors, {"plain": plain, "groups": state["param_groups"]}


def unflat(tensors: dict[str, Tensor], rest: dict) -> dict:
    state: dict[int, dict] = {}
    for path, value in (tensors | rest["plain"]).items():
        parameter, _, name = path.partition(".")
        state.setdefault(int(parameter), {})[name] = value
    return {"state": state, "param_groups": rest["groups"]}


def random_states() -> dict[str, Tensor]:
    """Of Python, numpy, torch and every GPU, as tensors; doubles by their bits."""
    version, words, gauss = random.getstate()
    numpy = np.random.get_state()
    bits = lambda value: torch.tensor([np.nan if value is None else value], dtype=torch.float64)
    states = {
        "python": torch.tensor([version, *words]),
        "python_gauss": bits(gauss),
        "numpy": torch.from_numpy(numpy[1].astype(np.int64)),
        "numpy_place": torch.tensor(numpy[2:4]),
        "numpy_gauss": bits(numpy[4]),
        "torch": torch.get_rng_state(),
    }
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return states | {f"cuda-{number}": value for number, value in enumerate(gpus)}


def put_random_states(folder: Path, process: int) -> None:
    file = folder / f"random-{process}.safetensors"
    if not file.is_file():
        return  # more processes than before: each has the state that its seed gives
    states = load_file(file)
    version, *words = states["python"].tolist()
    gauss = states["python_gauss"].item()
    random.setstate((version, tuple(words), None if np.isnan(gauss) else gauss))
    place = states["numpy_place"].tolist()
    np.random.set_state(("MT19937", states["numpy"].numpy().astype(np.uint32), *place, states["numpy_gauss"].item()))
    torch.set_rng_state(states["torch"])
    for number in range(torch.cuda.device_count()):
        if f"cuda-{number}" in states:
            torch.cuda.set_rng_state(states[f"cuda-{number}"], number)


def anywhere(flag: bool, args) -> bool:
    """Whether it is up in any process: all must stop at the same step."""
    if args.world_size == 1:
        return flag
    seen = torch.tensor(float(flag), device=args.device)
    torch.distributed.all_reduce(seen)
    return seen.item() > 0


def together(args) -> None:
    if args.world_size > 1:
        torch.distributed.barrier()


def flush(folder: Path) -> None:
    """After a power cut a checkpoint's name must not outlive its bytes."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
