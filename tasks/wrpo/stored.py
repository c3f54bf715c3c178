"""The stored reference in a training: joined to its rows, and computed anew for a few of them before it is believed."""

import random

import pyarrow.parquet as pq
import torch
from transformers import Trainer, TrainerCallback

from infra.errors import BadInput
from tasks.adapters import adapter_off
from tasks.records import LOG_PROB, content_id
from tasks.wrpo.batches import reference_log_probs

SAMPLE = 8  # rows
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}  # nats per token: what layouts, batches and kernels make of the same weights


def join(rows: list[dict], records: list[dict], files: list[str], roles: tuple[str, ...]) -> None:
    """The log-probabilities of each row's responses become its column `reference`, in the order of the roles."""
    if not files:
        raise BadInput("reference: the objective compares with a reference, and the job names none")
    table = [row for file in files for row in pq.read_table(file, schema=LOG_PROB).to_pylist()]
    stored = {row["content_id"]: row for row in table}
    for row, record in zip(rows, records, strict=True):
        found = [stored.get(content_id(record["prompt_id"], record[role])) for role in roles]
        for role, entry in zip(roles, found, strict=True):
            tokens = entry["tokens"] if entry else "no"
            if tokens != len(row[role]):
                raise BadInput(
                    f"reference: prompt {row['prompt_id']}: {role} has {len(row[role])} tokens, {tokens} are stored"
                )
        row["reference"] = torch.tensor([entry["log_prob"] for entry in found])


class VerifyReference(TrainerCallback):
    """Before the first step the policy is the reference: a few rows must say so. After a resume it no longer is, and they
    were verified then."""

    def __init__(self, trainer: Trainer, precision: str, seed: int):
        self.trainer, self.tolerance, self.seed = trainer, TOLERANCE[precision], seed

    def on_train_begin(self, args, state, control, **parts):
        if state.global_step:
            return
        trainer = self.trainer
        rows = trainer.train_dataset[: len(trainer.train_dataset) - trainer.fillers]
        some = random.Random(f"reference {self.seed}").sample(rows, min(SAMPLE, len(rows)))
        size, pad_id, layout = args.per_device_train_batch_size, trainer.pad_id, trainer.layout
        with trainer.accelerator.autocast(), adapter_off(trainer.model):
            for place, values in reference_log_probs(trainer.model_wrapped, some, size, pad_id, layout):
                compare(some[place], trainer.preference.roles, values.tolist(), self.tolerance)


def compare(row: dict, roles: tuple[str, ...], computed: list[float], tolerance: float) -> None:
    for role, before, now in zip(roles, row["reference"].tolist(), computed, strict=True):
        if not abs(before - now) <= tolerance * len(row[role]):
            raise BadInput(
                f"reference: prompt {row['prompt_id']}: log pi_ref of {role} is stored as {before:.6f} and computed as"
                f" {now:.6f}, more than {tolerance:g} apart for each of its {len(row[role])} tokens"
            )
