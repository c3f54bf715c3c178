"""Prepares a model for log-probabilities, and chooses the layout of its batches by a trial.

The trial uses the wrapped model: the device, the precision and the sharding of the real passes.
"""

import math
from collections.abc import Callable

import torch
from accelerate.utils import send_to_device
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from tasks.loading import out_of_memory
from tasks.positions import refuse_longer_rows
from tasks.training.lora import without_adapter
from tasks.training.processes import any_member
from tasks.wrpo import shared_prompt
from tasks.wrpo.batches import lay_out, response_log_probs, roles_of, row_length
from tasks.wrpo.line_attention import find_kernel_fault, find_objection
from tasks.wrpo.trainer import WrpoTrainer
from tasks.wrpo.verify_reference import ROUNDING

TRIED = 3  # rows
TOLERANCE = 1e-3  # relative error of a response's log-probability in fp32; in bf16 ROUNDING is the limit


def prepare_model(model: PreTrainedModel, rows: list[dict]) -> None:
    """Prepares an unwrapped model without adapter for log-probabilities of these rows."""
    refuse_longer_rows(model.config, max(map(row_length, rows)), "wrpo")
    disable_dropout(model)
    add_fused_lm_head(model)


def make_ready(model: PreTrainedModel, rows: list[dict], pad_id: int, layout: str, precision: str = "fp32") -> str:
    """Prepares an unwrapped model, and chooses its layout; returns the layout."""
    prepare_model(model, rows)
    return choose_layout(model, model, rows, pad_id, layout, precision)


def choose_layout(
    model: PreTrainedModel,
    wrapped: torch.nn.Module,
    rows: list[dict],
    pad_id: int,
    layout: str,
    precision: str,
    device: torch.device | None = None,
) -> str:
    """Returns `layout` if the model supports it in every process, and prepares the model for it; otherwise "padded"."""
    if layout != shared_prompt.NAME:
        return layout
    device = device or model.device
    few = rows_to_try(rows)
    lengths = torch.tensor([[len(row[name]) for row in few] for name in roles_of(few[0])], device=device)

    def try_out(how: str) -> Tensor:
        return response_log_probs(wrapped, send_to_device(lay_out(few, pad_id, how), device))

    def compare(shared: Tensor, padded: Tensor) -> str | None:
        return find_difference(shared, padded, lengths, precision)

    wrapped.eval()
    longest, trial = max(map(row_length, rows)), shared_prompt.Trial(try_out, compare, agree_in_group(device))
    if problem := shared_prompt.install_attention(model, longest, trial, ways_on(model, device, precision)):
        print(f"how.layout: the padded layout is used, because {problem}", flush=True)
        return "padded"
    return layout


def ways_on(model: PreTrainedModel, device: torch.device, precision: str) -> tuple[str, ...]:
    """The packed attentions to try on this device, the fastest first."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    if find_objection(device, kind, size):
        return (shared_prompt.NAME,)
    try:
        key_heads = getattr(config, "num_key_value_heads", None) or heads
        problem = find_kernel_fault(shared_prompt.KERNEL, device, kind, heads, key_heads, size)
    except RuntimeError as error:  # an older GPU
        if out_of_memory(error):
            raise
        problem = str(error).partition("\n")[0]
    if problem:
        print(
            f"how.layout: the shared prompt is computed with a mask, because the flash attention fails: {problem}",
            flush=True,
        )
    return (shared_prompt.NAME,) if problem else (shared_prompt.LINE, shared_prompt.NAME)


def rows_to_try(rows: list[dict]) -> list[dict]:
    """Up to three rows of the same roles, which form one batch, and of middle length: more tokens show more of a difference,
    but the longest rows need the most memory."""
    by_length = sorted(rows, key=row_length)
    alike = [row for row in by_length if roles_of(row) == roles_of(by_length[0])]
    first = max(0, min(len(alike) // 2, len(alike) - TRIED))
    return alike[first : first + TRIED]


def find_difference(found: Tensor, expected: Tensor, lengths: Tensor, precision: str) -> str | None:
    """Describes a difference between two layouts' log-probabilities (responses, B) that rounding does not explain."""
    apart = (found - expected).double().cpu()
    if precision != "bf16":
        worst = (apart.abs() / expected.double().cpu().abs().clamp(min=1)).max().item()
        return None if worst < TOLERANCE else f"the log-probabilities differ by {worst:.1e} (relative)"
    tokens = lengths.double().cpu()
    worst = max((apart.abs() / tokens.sqrt()).max().item(), abs(apart.sum().item()) / math.sqrt(tokens.sum().item()))
    return None if worst < ROUNDING["bf16"] else f"the log-probabilities differ by {worst:.1e} nats per root of a token"


def agree_in_group(device: torch.device) -> Callable[[str | None], str | None]:
    """All processes must use the same layout: if one of them has a problem, all have one."""

    def agree(problem: str | None) -> str | None:
        others = any_member(problem is not None, device)
        return problem or ("another process of the group found a difference" if others else None)

    return agree


class LayoutTrial(TrainerCallback):
    """Chooses the trainer's layout when the training begins and its model is wrapped, before the first pass."""

    def __init__(self, trainer: WrpoTrainer, layout: str, precision: str):
        self.trainer, self.layout, self.precision = trainer, layout, precision

    def on_train_begin(self, args, state, control, **parts):
        trainer = self.trainer
        assert trainer.model is not None and trainer.model_wrapped is not None
        model, rows = without_adapter(trainer.model), trainer.real_rows
        with trainer.accelerator.autocast():
            trainer.layout = choose_layout(
                model, trainer.model_wrapped, rows, trainer.pad_id, self.layout, self.precision, args.device
            )


def disable_dropout(model: PreTrainedModel) -> None:
    """Disables dropout modules, and sets rates that a layer stores as a float to 0, for example in Llama's attention."""
    disable_dropout_in_model(model)
    for module in model.modules():
        for name in [name for name, value in vars(module).items() if "dropout" in name and isinstance(value, float)]:
            setattr(module, name, 0.0)
