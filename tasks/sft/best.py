"""The better of a training's last two checkpoints, by the loss on records that no step has seen.

FuseChat-3.0 saves every 100 steps and keeps "the best from the last two checkpoints" without saying by what; here it is
neither a test nor a benchmark that decides.
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
    """Those to learn from, and those held out: a sample's place follows from its prompt alone, which is its name."""
    place = lambda sample: int(hashlib.sha256(f"held out {sample['name']}".encode()).hexdigest()[:12], 16) / 16**12
    out = [sample for sample in samples if place(sample) < share]
    if not out or len(out) == len(samples):
        raise BadInput(
            f"sft.best_of_two.held_out: a share of {share:g} holds out {len(out)} of {len(samples)} records; it must hold out"
            " at least one, and not all"
        )
    return [sample for sample in samples if place(sample) >= share], out


class BestOfTwoCallback(TrainerCallback):
    """Keeps the weights of the last multiple of `every` steps before the end, and what they lose on held-out rows."""

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
        """Mean over the held-out tokens. Every process reads them all: under ZeRO none could do it alone."""
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
        model.train()  # TRL logs a step otherwise while the model does not train
        return total / tokens

    def better(self) -> tuple[Path | None, dict]:
        """The candidate's weights where they lose less than the last ones, and the numbers for the manifest."""
        last, steps = self.loss(), self.trainer.state.max_steps
        file = self.place / "candidate.json"
        candidate = json.loads(file.read_text()) if file.exists() else {"step": steps, "loss": last}
        losses = {"held_out": len(self.rows), "held_out_loss_last": last, "held_out_loss_before": candidate["loss"]}
        if candidate["loss"] < last:
            return self.place / "candidate.safetensors", losses | {"kept_step": candidate["step"]}
        return None, losses | {"kept_step": steps}
