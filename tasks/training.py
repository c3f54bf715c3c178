"""What every training of ours has: the settings that change its result, and those that change only speed and place."""

from typing import Literal

from pydantic import Field

from tasks.stage import How, Seed, What


class Training(What):
    learning_rate: float = Field(gt=0)
    epochs: int = Field(1, gt=0)
    batch_size: int = Field(128, gt=0, description="rows per optimizer step, over all devices")
    max_length: int = Field(
        2048, gt=0, description="tokens of prompt and response; a longer response is cut and counted"
    )
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    max_steps: int | None = Field(None, gt=0, description="ends the training early; none: all epochs")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: weights in fp32, arithmetic in bf16")
    seed: Seed


class TrainingHow(How):
    device_batch_size: int = Field(8, gt=0, description="rows at once on a device; must divide the batch size")
    gradient_checkpointing: bool = False
