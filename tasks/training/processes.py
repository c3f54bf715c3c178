"""Trainings in a group of processes: every optimizer step uses the same rows as a training in one process.

Filler rows of weight 0 complete an epoch's last batches; Trainer would repeat the epoch's first rows instead.
"""

import math
import time
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments


def count_fillers(rows: int, args: TrainingArguments) -> int:
    """The number of filler rows that gives every process the same number of full batches."""
    return 0 if args.world_size == 1 else -rows % (args.per_device_train_batch_size * args.world_size)


def leave_process_group() -> None:
    """Waits for rank 0 to finish saving, then destroys the group; otherwise torch aborts."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def any_process(flag: bool, args: TrainingArguments) -> bool:
    """True if `flag` is true in any process; with it all processes stop at the same step."""
    if args.world_size == 1:
        return flag
    seen = torch.tensor(float(flag), device=args.device)
    torch.distributed.all_reduce(seen)
    return seen.item() > 0


def from_all(values: list, args: TrainingArguments) -> list:
    """Joins the lists of all processes. All processes must call it."""
    if args.world_size == 1:
        return values
    found: list = [None] * args.world_size
    torch.distributed.all_gather_object(found, values)
    return [value for some in found for value in some]


class SharedOrder(Sampler):
    """An epoch's order of `rows` rows as a single process draws it, followed by the filler rows."""

    def __init__(self, rows: int, fillers: int, seed: int):
        self.rows, self.fillers, self.seed, self.epoch = rows, fillers, seed, 0

    def __len__(self) -> int:
        return self.rows + self.fillers

    def __iter__(self) -> Iterator[int]:
        drawing = torch.Generator().manual_seed(self.seed + self.epoch)  # as accelerate's SeedableRandomSampler
        yield from torch.randperm(self.rows, generator=drawing).tolist()
        yield from range(self.rows, self.rows + self.fillers)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class EpochSetter(TrainerCallback):
    """Gives the epoch's number to SharedOrder: accelerate does not do it if a resumed epoch skips batches."""

    def __init__(self, order: SharedOrder):
        self.order = order

    def on_epoch_begin(self, args, state, control, **parts):
        self.order.set_epoch(int(state.epoch))


# A type checker sees Trainer's methods; at run time Trainer comes after InGroup, from the other base.
TrainerMethods = Trainer if TYPE_CHECKING else object


class InGroup(TrainerMethods):
    """Mixin placed before Trainer among the base classes. Only this class overrides private methods of Trainer."""

    fillers = 0  # number of filler rows at the end of the training data
    began = 0.0  # time at which the step requested its first batch

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        self.began = time.monotonic()
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _run_epoch(self, *arguments: Any, **parts: Any) -> None:
        """Skips the epoch if the training was interrupted after its last step; Trainer would train further inside an epoch."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*arguments, **parts)

    def refuse_unless_finite(self, name: str, values: list[float], prompts: list[str]) -> None:
        """Stops all processes at the same step if a value is NaN or infinite; the error names the prompts of that batch."""
        bad = not all(map(math.isfinite, values))
        if any_process(bad, self.args):
            found, ids = (from_all(some if bad else [], self.args) for some in (values, prompts))
            step = self.state.global_step
            raise FloatingPointError(f"{name} {found} at optimizer step {step}; prompt ids: {', '.join(ids)}")

    def _get_train_sampler(self, train_dataset=None) -> Sampler | None:
        if self.args.world_size == 1:
            return super()._get_train_sampler(train_dataset)
        order = SharedOrder(len(cast(Sized, self.train_dataset)) - self.fillers, self.fillers, self.args.seed)
        self.add_callback(EpochSetter(order))
        return order

    def _prepare_for_training(self, max_steps, train_dataloader, resume_from_checkpoint):
        """Under DeepSpeed, loads the weights before the model is wrapped: DeepSpeed expects another checkpoint format."""
        if resume_from_checkpoint and self.is_deepspeed_enabled:
            assert self.model is not None
            self.model.load_state_dict(load_file(Path(resume_from_checkpoint) / "model.safetensors"), strict=False)
            resume_from_checkpoint = None
        return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
