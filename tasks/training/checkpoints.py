"""Checkpoints from which a training goes on bit for bit, and the callback that writes them. No pickle anywhere.

A checkpoint is a folder `checkpoints/<step>`, written beside and renamed: whole or absent. It holds what Trainer reads
itself on resume (`model.safetensors`, `trainer_state.json`: step, log, steps of the whole run) and what this callback
restores: the optimizer's tensors, the schedule, and the random states of every process. Tensors are whole and by name:
another number of processes, or DeepSpeed where there was none, goes on from it too.
"""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from infra.ending import SAVING
from tasks.training import zero
from tasks.training.optimizer_state import put_state, state_of, trained_tensors
from tasks.training.processes import any_process
from tasks.training.random_states import put_random_states, random_states

FOLDER, KEPT = "checkpoints", 2
ALONG = "along"  # what lies in this folder of a program goes with every checkpoint, and comes back with it
STOPPED = 128 + signal.SIGTERM
# Of a schedule. The rest are lists over parameter groups, of which DeepSpeed drops empty ones.
PLACE = ("last_epoch", "_step_count")


def newest_checkpoint(job: dict, out: Path) -> Path | None:
    """Where the training goes on: the last whole checkpoint that this program left, or the one it was given."""
    own = finished_checkpoints(out)
    return own[-1] if own else Path(job["resume"]) if job.get("resume") else None


def finished_checkpoints(out: Path) -> list[Path]:
    return sorted(path for path in (out / FOLDER).glob("*") if re.fullmatch("[0-9]{9}", path.name))


class CheckpointCallback(TrainerCallback):
    """Writes one every `every` optimizer steps (0: none between), at the last step and on SIGTERM, and restores one. Stands
    last among callbacks: a step that another one stops for its loss is never kept."""

    def __init__(self, out: Path, every: int, resume: Path | None):
        self.out, self.every, self.resume = out, every, resume
        self.parts: dict = {}
        self.terminated = False

    def terminate(self, *_) -> None:
        """The step is finished first. Whoever told us waits for it, and for the checkpoint, from here on."""
        self.terminated = True
        (self.out / SAVING).touch()

    def on_train_begin(self, args, state, control, **parts):
        """Trainer has put back the weights and the step by now, and knows where in the data it is."""
        signal.signal(signal.SIGTERM, self.terminate)
        self.parts = {name: parts[name] for name in ("model", "optimizer", "lr_scheduler")}
        if args.deepspeed:
            zero.begin_optimizer(self.parts["optimizer"])
        if self.resume:
            restore_checkpoint(self.resume, self.parts, args)
            if state.is_world_process_zero and (self.resume / ALONG).is_dir():
                shutil.copytree(self.resume / ALONG, self.out / ALONG, dirs_exist_ok=True)

    def on_step_begin(self, args, state, control, **parts):
        """Once more at the first step inside an epoch: skipping its batches may have drawn random numbers."""
        if self.resume and state.epoch % 1:
            put_random_states(self.resume, args.process_index)
        self.resume = None

    def on_log(self, args, state, control, *, logs, **parts):
        """After the step's row is in the log. The last step leaves one too, as the model is not written yet."""
        if "loss" not in logs:
            return
        due = state.global_step == state.max_steps or (self.every and state.global_step % self.every == 0)
        stop = any_process(self.terminated, args)
        if due or stop:
            write_checkpoint(self.out, self.parts, args, state)
        if stop:
            raise SystemExit(STOPPED)


def write_checkpoint(out: Path, parts: dict, args, state) -> None:
    """All processes write their random states, the first one the rest; then it is renamed, and older ones go."""
    target = out / FOLDER / f"{state.global_step:09d}"
    draft = target.with_name(f"draft-{target.name}")
    draft.mkdir(parents=True, exist_ok=True)
    if state.is_world_process_zero and (out / ALONG).is_dir():
        shutil.copytree(out / ALONG, draft / ALONG, dirs_exist_ok=True)
    save_file(random_states(), draft / f"random-{args.process_index}.safetensors")
    model, optimizer = parts["model"], parts["optimizer"]
    weights, tensors = trained_tensors(model, args), state_of(model, optimizer, args)
    if state.is_world_process_zero:
        save_file(weights, draft / "model.safetensors")
        save_file(tensors, draft / "optimizer.safetensors")
        place = {name: parts["lr_scheduler"].state_dict()[name] for name in PLACE}
        rates = {"rate": optimizer.param_groups[0]["lr"], "schedule": place}
        (draft / "schedule.json").write_text(json.dumps(rates, indent=1))
        state.save_to_json(str(draft / "trainer_state.json"))
    wait_for_processes(args)
    if state.is_world_process_zero:
        flush_folder(draft)
        os.replace(draft, target)
        for old in finished_checkpoints(out)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    wait_for_processes(args)


def restore_checkpoint(folder: Path, parts: dict, args) -> None:
    weights, tensors = (load_file(folder / f"{name}.safetensors") for name in ("model", "optimizer"))
    saved = json.loads((folder / "schedule.json").read_text())
    put_state(parts["model"], parts["optimizer"], weights, tensors, saved["rate"], args)
    rates = [saved["rate"]] * len(parts["optimizer"].param_groups)
    parts["lr_scheduler"].load_state_dict(saved["schedule"] | {"_last_lr": rates, "lr_lambdas": []})
    put_random_states(folder, args.process_index)


def wait_for_processes(args) -> None:
    if args.world_size > 1:
        torch.distributed.barrier()


def flush_folder(folder: Path) -> None:
    """After a power cut a checkpoint's name must not outlive its bytes."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
