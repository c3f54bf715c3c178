"""What every training of ours has: the settings that change its result, and those that change only speed and place."""

from typing import Literal

from pydantic import Field

from tasks.stage import How, Seed, What


class Lora(What):
    """Low-rank adapters are trained, the model's own weights stay; what is left is the whole model, adapters merged.

    (QLoRA quantises the model with kernels that need a GPU, and is not offered.)
    """

    rank: int = Field(gt=0)
    alpha: float = Field(gt=0, allow_inf_nan=False, description="the adapters' output is scaled by alpha / rank")
    targets: tuple[str, ...] = Field((), description="names of linear layers, e.g. q_proj; none: all but the LM head")


class Training(What):
    learning_rate: float = Field(gt=0)
    epochs: int = Field(1, gt=0)
    batch_size: int = Field(128, gt=0, description="rows per optimizer step, over all devices")
    max_length: int = Field(
        2048, gt=0, description="tokens of prompt and response; a longer response is cut and counted"
    )
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    max_steps: int | None = Field(None, gt=0, description="ends the training early; none: all epochs")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: arithmetic in bf16, and the result is kept so"
    )
    lora: Lora | None = Field(None, description="none: all weights are trained")
    seed: Seed


class TrainingHow(How):
    device_batch_size: int = Field(8, gt=0, description="rows at once on a device; must divide the batch size")
    gradient_checkpointing: bool = False
    checkpoint_steps: int = Field(100, ge=0, description="optimizer steps between two checkpoints; 0: none")
