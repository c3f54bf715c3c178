"""Settings of every training: those that change its result (What), and those that change only speed and place (How)."""

from typing import Literal

from pydantic import Field

from tasks.stage import How, Seed, What


class Lora(What):
    """Trains low-rank adapters instead of the model's own weights; the saved model is complete, with the adapters merged."""

    rank: int = Field(gt=0)
    alpha: float = Field(gt=0, allow_inf_nan=False, description="the adapters' output is scaled by alpha / rank")
    targets: tuple[str, ...] = Field(
        default=(), description="names of linear layers, e.g. q_proj; empty: all linear layers except the LM head"
    )
    base: Literal["full", "nf4"] = Field(
        default="full",
        description="nf4: QLoRA; linear layers are rounded to 4 bits, only adapters are trained, and both are saved as one model",
    )


class Training(What):
    learning_rate: float = Field(gt=0)
    epochs: int = Field(default=1, gt=0)
    batch_size: int = Field(default=128, gt=0, description="rows per optimizer step, over all devices")
    max_length: int = Field(
        default=2048, gt=0, description="tokens of prompt and response; a longer response is cut and counted"
    )
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    max_steps: int | None = Field(
        default=None,
        gt=0,
        description="number of optimizer steps after which the training ends early; if not set: all epochs",
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="bf16: computes in bf16, and saves the model in bf16"
    )
    lora: Lora | None = Field(default=None, description="if not set: all weights are trained")
    seed: Seed


class DeepSpeed(How):
    """ZeRO: splits gradients, optimizer states and optionally weights among the processes."""

    zero: Literal[2, 3] = Field(
        description="2: splits gradients and optimizer states among the processes; 3: also the weights"
    )
    offload: bool = Field(
        default=False, description="keeps the optimizer states, and with zero = 3 also the weights, in the CPU's memory"
    )


class TrainingHow(How):
    processes: int = Field(
        default=1, gt=0, description="training processes on this machine, one for each GPU; they share every batch"
    )
    deepspeed: DeepSpeed | None = Field(
        default=None, description="if not set: every process holds all weights and optimizer states"
    )
    device_batch_size: int = Field(
        default=8,
        gt=0,
        description="rows per device at the same time; batch_size must be a multiple of it times processes",
    )
    gradient_checkpointing: bool = False
    checkpoint_steps: int = Field(
        default=100,
        ge=0,
        description="optimizer steps between two checkpoints; 0: only the last step writes a checkpoint",
    )

    restarts: int = Field(
        default=2, ge=0, description="maximum number of restarts of a killed program, from its checkpoint"
    )
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        default=(), description="trackers that also receive the log; TensorBoard's files are in the workspace's runs/"
    )

    @property
    def gpus(self) -> int:
        return self.processes

    @property
    def group(self) -> int:
        """The number of processes that the launcher starts as a group; 0: no group."""
        return self.processes if self.processes > 1 or self.deepspeed else 0

    @property
    def splits_weights(self) -> bool:
        return self.deepspeed is not None and self.deepspeed.zero == 3
