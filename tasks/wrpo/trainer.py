"""WRPO on transformers.Trainer: computes losses from stored reference log-probabilities, and logs a row per step.

The mathematics is in objectives.py, the batches are built in batches.py.
"""

import time
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from tasks.training.lora import TrainableModel
from tasks.training.processes import InGroup, count_fillers
from tasks.wrpo.batches import collate_rows, response_log_probs
from tasks.wrpo.preference import Preference
from tasks.wrpo.settings import ROLES

MEANS = (
    *(f"reward_{role}" for role in ROLES),
    *("margin", "accuracy_weighted", "accuracy_source", "accuracy_own"),
    *(f"log_prob_{role}" for role in ROLES),
    "gap",  # nats per token by which the policy prefers y_wt to y_ws
)
STEP = pa.schema(
    [
        ("step", pa.int32()),  # optimizer steps done, this one included
        ("loss", pa.float64()),
        ("alpha", pa.float64()),  # null for unweighted objectives
        *[(name, pa.float64()) for name in MEANS],  # null if the objective has no such response
        ("grad_norm", pa.float64()),  # before clipping
        ("learning_rate", pa.float64()),
        ("examples", pa.int64()),
        ("tokens", pa.int64()),  # of prompts and responses, prompts counted once per response
    ]
)


class WrpoTrainer(InGroup, Trainer):
    """Trains a model prepared by `prepare_model`, on rows with prompt_id and token tensors: prompt, and one per role of the
    objective."""

    loss_is_scaled_for_ga = True  # compute_loss divides by the examples of the whole accumulation window

    def __init__(
        self,
        model: TrainableModel,
        args: TrainingArguments,
        rows: list[dict],
        preference: Preference,
        pad_id: int,
        layout: str = "padded",
    ):
        self.real_rows, self.fillers = rows, count_fillers(len(rows), args)
        self.preference, self.pad_id, self.layout = preference, pad_id, layout
        rows = rows + [rows[0] | {"weight": 0.0}] * self.fillers
        collator = lambda some: collate_rows(some, pad_id, self.layout)  # LayoutTrial sets the layout later
        super().__init__(model=model, args=args, train_dataset=cast(Dataset, rows), data_collator=collator)
        self.window: list[Tensor] = []
        self.means: tuple[str, ...] = ()
        self.window_prompts: list[str] = []

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """One accumulation window, and its number of examples over all processes, which gives each example the same weight."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        examples = torch.tensor(sum(len(batch["prompt_ids"]) for batch in batches), device=device)  # without fillers
        return batches, cast(int, cast(Tensor, self.accelerator.reduce(examples)).item())

    def compute_loss(self, model, inputs: dict[str, Any], return_outputs=False, num_items_in_batch=None):
        """The batch's share of the window's mean loss; stores the batch's metrics for the log."""
        log_probs = response_log_probs(model, inputs)
        values = self.preference.values(log_probs, inputs["lengths"], inputs.get("reference"))
        losses = self.preference.losses(values, self.alpha(self.state.global_step))
        self.refuse_unless_finite("loss", losses.tolist(), inputs["prompt_ids"])
        self.remember({role: value.detach() for role, value in values.items()}, log_probs.detach(), inputs)
        # `num_items_in_batch` counts the examples of all processes, and gradients are averaged over processes: hence world_size.
        loss = (losses * inputs["weights"]).sum() * self.args.world_size / cast(int, num_items_in_batch)
        return (loss, {"log_probs": log_probs}) if return_outputs else loss

    def alpha(self, step: int) -> float | None:
        return self.preference.alpha(step, self.state.max_steps, self.state.log_history)

    def remember(self, values: dict[str, Tensor], log_probs: Tensor, inputs: dict) -> None:
        found = self.preference.metrics(values, log_probs, inputs["lengths"], self.alpha(self.state.global_step))
        self.means = tuple(name for name in MEANS if name in found)
        sums = [(found[name] * inputs["weights"]).sum() for name in self.means]
        self.window.append(torch.stack([*sums, inputs["tokens"].to(sums[0]), inputs["weights"].sum().to(sums[0])]))
        self.window_prompts += inputs["prompt_ids"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the window's means over all processes to Trainer's log of an optimizer step."""
        if "loss" in logs:
            totals = cast(Tensor, self.accelerator.reduce(torch.stack(self.window).double().sum(dim=0)))
            *sums, tokens, examples = totals.tolist()
            logs |= {name: value / examples for name, value in zip(self.means, sums, strict=True)}
            # Trainer logs after it has counted the step; alpha was computed before.
            alpha = self.alpha(self.state.global_step - 1)
            more: dict[str, Any] = {"alpha": alpha, "tokens": int(tokens), "examples": int(examples)}
            logs |= more
            logs["tokens_per_second"] = tokens / (time.monotonic() - self.began)
            self.refuse_unless_finite("gradient norm", [logs["grad_norm"]], self.window_prompts)
            self.window, self.window_prompts = [], []
        super().log(logs, start_time)


def write_wrpo_steps(trainer: Trainer, file: Path) -> list[dict]:
    """Writes the trainer's log, one row per optimizer step. Columns of y_ls are written only if the objective reads it."""
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    columns = [column for column in STEP if column.name in steps[0] or "source_worst" not in column.name]
    pq.write_table(pa.Table.from_pylist(steps, schema=pa.schema(columns)), file)
    return steps
