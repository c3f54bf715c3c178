"""Joins the stored reference to a training's rows, and compares it with the model before the training uses it."""

import hashlib
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pyarrow.parquet as pq
import torch
from transformers import TrainerCallback

from infra.errors import BadInput
from tasks.program import write_json
from tasks.records import CUT_OFF, LOG_PROB, learned_id
from tasks.training.checkpoints import ALONG
from tasks.training.lora import adapter_off, has_adapter
from tasks.wrpo.batches import reference_log_probs
from tasks.wrpo.trainer import WrpoTrainer

SAMPLE = 8  # rows
# Allowed rounding error in nats per token. Layouts, batches and kernels round differently, independently for each token: the
# error of n tokens grows like a random walk, sigma sqrt(n). A model with other weights has an error proportional to n.
# Therefore the limit is ROUNDING sqrt(n), for each response and for all N checked tokens together; the allowed mean,
# ROUNDING / sqrt(N), goes to 0. Between the two layouts sigma was 0.074 in bf16 with a real model (SmolLM2-135M; logits from 8
# to 32 are stored in steps of 1/16 to 1/8) and 0.012 with a random one; in fp32 it was 1.5e-5 with both. The limit is about
# five sigma; in fp32 it is higher, because a sum of some hundred nats is stored in steps of 3e-5.
ROUNDING = {"fp32": 5e-4, "bf16": 0.4}


def join_reference(rows: list[dict], files: list[str], roles: tuple[str, ...]) -> None:
    """Adds `reference` to each row: the stored log-probabilities of its responses, in the order of the roles."""
    if not files:
        raise BadInput("reference: the objective needs a reference, but the job has no reference file")
    table = [row for file in files for row in pq.read_table(file, schema=LOG_PROB).to_pylist()]
    stored = {row["content_id"]: row for row in table}
    for row in rows:
        found = [stored.get(id_of(row, role)) for role in roles]
        for role, entry in zip(roles, found, strict=True):
            tokens = entry["tokens"] if entry else "no"
            if tokens != len(row[role]):
                raise BadInput(
                    f"reference: prompt {row['prompt_id']}: {role} has {len(row[role])} tokens, but {tokens} are stored"
                )
        row["reference"] = torch.tensor([cast(dict, entry)["log_prob"] for entry in found])


def id_of(row: dict, role: str) -> str:
    cut_off = row["record"][f"{role}_finish_reason"] == CUT_OFF
    return learned_id(row["prompt_id"], row["record"][role], cut_off)


class VerifyReference(TrainerCallback):
    """Recomputes the reference of a few rows, and raises BadInput if it differs. Before the first step the policy is the
    reference; with an adapter, the model without it always is. A resumed training must also find in its checkpoint the
    sha256 of the reference it used; without an adapter this is the only check."""

    def __init__(self, trainer: WrpoTrainer, precision: str, seed: int, out: Path, resume: Path | None):
        self.trainer, self.rounding, self.seed = trainer, ROUNDING[precision], seed
        self.out, self.resume = out, resume

    def on_train_begin(self, args, state, control, **parts):
        trainer = self.trainer
        rows = cast(list[dict], trainer.train_dataset)
        rows = rows[: len(rows) - trainer.fillers]
        if self.resume:
            compare_digests(self.resume / ALONG / "reference.json", rows)
        elif state.is_world_process_zero:
            (self.out / ALONG).mkdir(exist_ok=True)
            write_json(self.out / ALONG / "reference.json", {"sha256": rows_digest(rows)})
        if not self.resume or has_adapter(cast(torch.nn.Module, trainer.model)):
            some = random.Random(f"reference {self.seed}").sample(rows, min(SAMPLE, len(rows)))
            compare_differences(reference_differences(trainer, some, args.per_device_train_batch_size), self.rounding)


Difference = tuple[str, str, int, float, float]  # prompt id, role, tokens, stored, computed


def reference_differences(trainer: WrpoTrainer, rows: list[dict], size: int) -> Iterator[Difference]:
    model, wrapped = trainer.model, trainer.model_wrapped
    assert model is not None and wrapped is not None
    with trainer.accelerator.autocast(), adapter_off(model):
        for place, values in reference_log_probs(wrapped, rows, size, trainer.pad_id, trainer.layout):
            row = rows[place]
            for role, before, now in zip(
                trainer.preference.roles, row["reference"].tolist(), values.tolist(), strict=True
            ):
                yield row["prompt_id"], role, len(row[role]), before, now


def compare_differences(found: Iterator[Difference], rounding: float) -> None:
    total, sum_of_all = 0, 0.0
    for prompt, role, tokens, before, now in found:
        if not abs(before - now) <= rounding * math.sqrt(tokens):
            raise BadInput(
                f"reference: prompt {prompt}: log pi_ref of {role} is stored as {before:.6f} and computed as"
                f" {now:.6f}; rounding allows a difference of {rounding * math.sqrt(tokens):g} for {tokens} tokens"
            )
        total, sum_of_all = total + tokens, sum_of_all + before - now
    if abs(sum_of_all) > rounding * math.sqrt(total):
        raise BadInput(
            f"reference: over {total} tokens the stored log pi_ref differs from the computed one by"
            f" {sum_of_all / total:+.2e} nats per"
            f" token; rounding allows only {rounding / math.sqrt(total):.1e}"
        )


def rows_digest(rows: list[dict]) -> str:
    table = sorted((row["prompt_id"], row["reference"].tolist()) for row in rows)
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()


def compare_digests(kept: Path, rows: list[dict]) -> None:
    before, now = json.loads(kept.read_text())["sha256"], rows_digest(rows)
    if before != now:
        raise BadInput(
            f"reference: the checkpoint was trained with log-probs of sha256 {before[:12]}, but these have {now[:12]}"
        )
