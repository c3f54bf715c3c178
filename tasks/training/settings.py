"""Settings of every training: those that change its result (What), and those that change only speed and place (How)."""

from typing import Literal

from pydantic import Field

from tasks.stage import How, Seed, What


class Lora(What):
    """Trains low-rank adapters instead of the model's own weights; the saved model is whole, with the adapters merged."""

    rank: int = Field(gt=0)
    alpha: float = Field(gt=0, allow_inf_nan=False, description="the adapters' output is scaled by alpha / rank")
    targets: tuple[str, ...] = Field(
        default=(), description="names of linear layers, e.g. q_proj; none: all but the LM head"
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
    max_steps: int | None = Field(default=None, gt=0, description="ends the training early; none: all epochs")
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="bf16: arithmetic in bf16, and the result is kept so"
    )
    lora: Lora | None = Field(default=None, description="none: all weights are trained")
    seed: Seed


class DeepSpeed(How):
    """ZeRO: splits gradients, optimizer states and optionally weights among the processes."""

    zero: Literal[2, 3] = Field(description="2: gradients and the optimizer's states; 3: the weights too")
    offload: bool = Field(
        default=False, description="the optimizer's states, at 3 the weights too, wait in the CPU's memory"
    )


class TrainingHow(How):
    processes: int = Field(default=1, gt=0, description="on this machine, one for each GPU; they share every batch")
    deepspeed: DeepSpeed | None = Field(default=None, description="none: every process holds the whole training")
    device_batch_size: int = Field(
        default=8, gt=0, description="rows at once on a device; times processes it divides the batch"
    )
    gradient_checkpointing: bool = False
    checkpoint_steps: int = Field(
        default=100, ge=0, description="optimizer steps between two checkpoints; 0: the last step alone leaves one"
    )

    restarts: int = Field(default=2, ge=0, description="how often a program that dies goes on from its checkpoint")
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        default=(), description="where the log goes too; TensorBoard's to the workspace's runs/"
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
