"""Checkpoints from which a training resumes bit for bit, and the callback that writes them. Uses no pickle.

A checkpoint is a folder `checkpoints/<step>`. It is written as a draft and then renamed, thus it is complete or absent.
It holds `trainer_state.json` (step, log, steps of the whole run), the trained weights, the optimizer's tensors, the schedule,
and the random states of every process. A single process writes `model.safetensors` and `optimizer.safetensors`; in a group
each process writes its slices of every tensor, `model-<process>.safetensors` and so on, and no tensor is gathered. A training
can resume with another number of processes, or with DeepSpeed after a start without it.
"""

import json
import os
import re
import shutil
import signal
from pathlib import Path

from safetensors.torch import save_file
from transformers import TrainerCallback

from infra.ending import SAVING
from tasks.training.optimizer_state import put_state, state_slices, weight_slices
from tasks.training.processes import any_process, wait_for_processes
from tasks.training.random_states import put_random_states, random_states
from tasks.training.slices import open_saved, slice_file, write_slices
from tasks.training.zero_state import begin_optimizer

FOLDER, KEPT = "checkpoints", 2
ALONG = "along"  # a program's files in this folder are saved in every checkpoint and restored from it
STOPPED = 128 + signal.SIGTERM
# The saved fields of a schedule. Its other fields are lists over parameter groups, and DeepSpeed drops empty groups.
PLACE = ("last_epoch", "_step_count")


def newest_checkpoint(job: dict, out: Path) -> Path | None:
    """The checkpoint to resume from: this program's last complete one, otherwise the job's `resume`."""
    own = finished_checkpoints(out)
    return own[-1] if own else Path(job["resume"]) if job.get("resume") else None


def finished_checkpoints(out: Path) -> list[Path]:
    return sorted(path for path in (out / FOLDER).glob("*") if re.fullmatch("[0-9]{9}", path.name))


class CheckpointCallback(TrainerCallback):
    """Writes a checkpoint every `every` optimizer steps (0: never), at the last step and on SIGTERM; restores `resume`. It must
    be the last callback: if another callback raises at a step, that step is not saved."""

    def __init__(self, out: Path, every: int, resume: Path | None):
        self.out, self.every, self.resume = out, every, resume
        self.parts: dict = {}
        self.terminated = False

    def terminate(self, *_) -> None:
        """Handles SIGTERM: the training finishes its step and writes a checkpoint. The SAVING file asks the launcher to wait."""
        self.terminated = True
        (self.out / SAVING).touch()

    def on_train_begin(self, args, state, control, **parts):
        """Restores the rest of the checkpoint; Trainer has restored the weights, the step and the position in the data."""
        signal.signal(signal.SIGTERM, self.terminate)
        self.parts = {name: parts[name] for name in ("model", "optimizer", "lr_scheduler")}
        if args.deepspeed:
            begin_optimizer(self.parts["optimizer"])
        if self.resume:
            restore_checkpoint(self.resume, self.parts, args)
            if state.is_world_process_zero and (self.resume / ALONG).is_dir():
                shutil.copytree(self.resume / ALONG, self.out / ALONG, dirs_exist_ok=True)

    def on_step_begin(self, args, state, control, **parts):
        """Restores the random states again if the training resumes inside an epoch: skipping batches may draw random numbers."""
        if self.resume and state.epoch % 1:
            put_random_states(self.resume, args.process_index)
        self.resume = None

    def on_log(self, args, state, control, *, logs, **parts):
        """Writes a checkpoint after the step's row is in the log. The last step writes one too: the model is not saved yet."""
        if "loss" not in logs:
            return
        due = state.global_step == state.max_steps or (self.every and state.global_step % self.every == 0)
        stop = any_process(self.terminated, args)
        if due or stop:
            write_checkpoint(self.out, self.parts, args, state)
        if stop:
            raise SystemExit(STOPPED)


def write_checkpoint(out: Path, parts: dict, args, state) -> None:
    """Every process writes its slices and its random states; the first process writes the rest, renames the draft and deletes
    old checkpoints."""
    target = out / FOLDER / f"{state.global_step:09d}"
    draft = target.with_name(f"draft-{target.name}")
    if state.is_world_process_zero:
        shutil.rmtree(draft, ignore_errors=True)  # a killed group of another size may have left slices
        draft.mkdir(parents=True)
    wait_for_processes(args)
    model, optimizer = parts["model"], parts["optimizer"]
    write_slices(slice_file(draft, "model", args), weight_slices(model, args))
    write_slices(slice_file(draft, "optimizer", args), state_slices(model, optimizer, args))
    save_file(random_states(), draft / f"random-{args.process_index}.safetensors")
    if state.is_world_process_zero:
        write_rest(draft, out, parts, state)
    wait_for_processes(args)
    if state.is_world_process_zero:
        flush_folder(draft)
        os.replace(draft, target)
        for old in finished_checkpoints(out)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    wait_for_processes(args)


def write_rest(draft: Path, out: Path, parts: dict, state) -> None:
    if (out / ALONG).is_dir():
        shutil.copytree(out / ALONG, draft / ALONG)
    place = {name: parts["lr_scheduler"].state_dict()[name] for name in PLACE}
    rates = {"rate": parts["optimizer"].param_groups[0]["lr"], "schedule": place}
    (draft / "schedule.json").write_text(json.dumps(rates, indent=1))
    state.save_to_json(str(draft / "trainer_state.json"))


def restore_checkpoint(folder: Path, parts: dict, args) -> None:
    saved = json.loads((folder / "schedule.json").read_text())
    weights, tensors = open_saved(folder, "model"), open_saved(folder, "optimizer")
    put_state(parts["model"], parts["optimizer"], weights, tensors, saved["rate"], args)
    rates = [saved["rate"]] * len(parts["optimizer"].param_groups)
    parts["lr_scheduler"].load_state_dict(saved["schedule"] | {"_last_lr": rates, "lr_lambdas": []})
    put_random_states(folder, args.process_index)


def flush_folder(folder: Path) -> None:
    """Flushes all files to the disk: after a power cut a renamed checkpoint must not have missing bytes."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
