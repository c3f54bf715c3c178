"""SFT on TRL's SFTTrainer, from token ids and labels; stops if a loss is NaN or infinite."""

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportPrivateImportUsage]

from tasks.training.lora import TrainableModel
from tasks.training.processes import InGroup, count_fillers

IGNORED = -100  # label of tokens without loss
STEP = pa.schema(
    [
        ("step", pa.int32()),  # optimizer steps done, this one included
        ("loss", pa.float64()),  # mean over the response tokens of the whole batch
        ("learning_rate", pa.float64()),
        ("grad_norm", pa.float64()),  # before clipping
        ("tokens", pa.int64()),  # fed to the model, prompts included
    ]
)


class SftTrainer(InGroup, SFTTrainer):
    """Trains on rows of `input_ids`, `labels` and `name`; error messages contain the names."""

    def __init__(
        self,
        model: TrainableModel,
        args: SFTConfig,
        rows: list[dict],
        tokenizer: PreTrainedTokenizerBase,
        callbacks: list[TrainerCallback],
    ):
        self.fillers = count_fillers(len(rows), args)
        empty = {"input_ids": rows[0]["input_ids"][:2], "labels": [IGNORED] * 2, "name": "filler"}
        table = Dataset.from_list(rows + [empty] * self.fillers)
        callbacks = [StepTokens(self), *callbacks]
        super().__init__(model=model, args=args, train_dataset=table, processing_class=tokenizer, callbacks=callbacks)
        plain = self.data_collator
        self.data_collator = lambda rows: {**plain(rows), "names": [row["name"] for row in rows]}
        self.window_names: list[str] = []

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        names = inputs.pop("names")
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = found[0] if return_outputs else found
        self.refuse_unless_finite("loss", [loss.item()], names)
        self.window_names += names
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            self.refuse_unless_finite("gradient norm", [logs["grad_norm"]], self.window_names)
            self.window_names = []
        super().log(logs, start_time)


class StepTokens(TrainerCallback):
    """Logs each step's tokens and tokens per second; TRL logs only the tokens since the start of the program."""

    def __init__(self, trainer: "SftTrainer"):
        self.trainer, self.before = trainer, 0

    def on_log(self, args, state, control, *, logs, **kwargs):
        if "loss" in logs:
            tokens, self.before = int(logs["num_tokens"]) - self.before, int(logs["num_tokens"])
            logs |= {"tokens": tokens, "tokens_per_second": tokens / (time.monotonic() - self.trainer.began)}
            state.log_history[-1] |= logs


def write_sft_steps(trainer: SFTTrainer, file: Path) -> list[dict]:
    """Writes one row per optimizer step, including steps before a resume."""
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    pq.write_table(pa.Table.from_pylist(steps, schema=STEP), file)
    return steps
