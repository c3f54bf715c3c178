"""Keeps the better of a training's last two checkpoints: the one with the lower loss on held-out records.

FuseChat-3.0 saves every 100 steps and keeps "the best from the last two checkpoints", but does not name the criterion.
Here it is the held-out loss, not a test set or a benchmark.
"""

import hashlib
import json
from pathlib import Path

import torch
from accelerate.utils import send_to_device
from safetensors.torch import save_file
from transformers import TrainerCallback

from infra.errors import BadInput
from tasks.sft.trainer import SftTrainer
from tasks.training.checkpoints import ALONG
from tasks.training.optimizer_state import trained_tensors


def hold_out(samples: list[dict], share: float) -> tuple[list[dict], list[dict]]:
    """Splits samples into training and held-out ones. The split depends only on a sample's name, its prompt id."""
    place = lambda sample: int(hashlib.sha256(f"held out {sample['name']}".encode()).hexdigest()[:12], 16) / 16**12
    out = [sample for sample in samples if place(sample) < share]
    if not out or len(out) == len(samples):
        raise BadInput(
            f"sft.best_of_two.held_out: a share of {share:g} holds out {len(out)} of {len(samples)} records; it must hold out"
            " at least one record, but not all"
        )
    return [sample for sample in samples if place(sample) >= share], out


class BestOfTwoCallback(TrainerCallback):
    """Saves the weights and their held-out loss at the last multiple of `every` steps before the end."""

    def __init__(self, trainer: SftTrainer, rows: list[dict], every: int, out: Path):
        self.trainer, self.rows, self.every, self.place = trainer, rows, every, out / ALONG

    def on_step_end(self, args, state, control, **parts):
        if state.global_step != (state.max_steps - 1) // self.every * self.every:
            return
        assert self.trainer.model is not None
        loss, weights = self.loss(), trained_tensors(self.trainer.model, args)
        if state.is_world_process_zero:
            self.place.mkdir(exist_ok=True)
            save_file(weights, self.place / "candidate.safetensors")
            (self.place / "candidate.json").write_text(json.dumps({"step": state.global_step, "loss": loss}))

    def loss(self) -> float:
        """Mean loss over the held-out tokens. Every process computes all rows: under ZeRO a forward pass needs all processes."""
        trainer, total, tokens = self.trainer, 0.0, 0
        size = trainer.args.per_device_train_batch_size
        model, wrapped = trainer.model, trainer.model_wrapped
        assert model is not None and wrapped is not None
        model.eval()
        for start in range(0, len(self.rows), size):
            batch = send_to_device(trainer.data_collator(self.rows[start : start + size]), trainer.args.device)
            batch.pop("names")
            with torch.no_grad(), trainer.compute_loss_context_manager():
                found = wrapped(**batch, use_cache=False, fused_lm_head=True)
            total -= found.log_probs.double().sum().item()
            tokens += int(found.label_mask.sum())
        model.train()  # in evaluation mode TRL would log the next step as an evaluation
        return total / tokens

    def better(self) -> tuple[Path | None, dict]:
        """The candidate's weights if their loss is lower than the final loss, otherwise None; and numbers for the manifest."""
        last, steps = self.loss(), self.trainer.state.max_steps
        file = self.place / "candidate.json"
        # A training of at most `every` steps has no candidate.
        candidate = json.loads(file.read_text()) if file.exists() else {"step": steps, "loss": last}
        losses = {"held_out": len(self.rows), "held_out_loss_last": last, "held_out_loss_before": candidate["loss"]}
        if candidate["loss"] < last:
            return self.place / "candidate.safetensors", losses | {"kept_step": candidate["step"]}
        return None, losses | {"kept_step": steps}
