"""WRPO on transformers.Trainer: triples are padded, scored against stored reference log-probabilities, and logged.

The one file that knows Trainer and TRL; the mathematics is in objectives.py. TRL's fused LM head gives the
log-probability of each response token without holding the log-softmax over the vocabulary.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate.utils import gather_object, send_to_device
from torch import Tensor
from transformers import PreTrainedModel, Trainer, TrainingArguments
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from tasks.adapters import adapter_off, without_adapter
from tasks.wrpo import shared_prompt
from tasks.wrpo.preference import Preference
from tasks.wrpo.settings import TRIPLE as RESPONSES

ROLES = (*RESPONSES, "source_worst")
MEANS = (
    *(f"reward_{role}" for role in ROLES),
    *("margin", "accuracy_weighted", "accuracy_source", "accuracy_own"),
    *(f"log_prob_{role}" for role in ROLES),
    "gap",  # nats per token by which the policy prefers y_wt to y_ws
)
STEP = pa.schema(
    [
        ("step", pa.int32()),  # optimizer steps done, this one included
        ("loss", pa.float64()),
        ("alpha", pa.float64()),  # null where the objective weighs nothing
        *[(name, pa.float64()) for name in MEANS],  # null where the objective has no such response
        ("grad_norm", pa.float64()),  # before clipping
        ("learning_rate", pa.float64()),
        ("examples", pa.int64()),
        ("tokens", pa.int64()),  # of prompts and responses, prompts counted once per response
    ]
)


def pad_triples(rows: list[dict], pad_id: int) -> dict:
    """3B sequences, right-padded: all y_ws, all y_wt, all y_l. The last token of each is predicted but never fed.

    Other objectives' rows hold other responses.
    """
    names = roles_of(rows[0])
    pairs = [(row["prompt"], row[name]) for name in names for row in rows]
    shape = len(pairs), max(len(prompt) + len(response) for prompt, response in pairs) - 1
    input_ids, shift_labels = torch.full(shape, pad_id), torch.full(shape, -100)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    for line, (prompt, response) in enumerate(pairs):
        end = len(prompt) + len(response) - 1
        input_ids[line, :end] = torch.cat([prompt, response])[:-1]
        attention_mask[line, :end] = 1
        shift_labels[line, len(prompt) - 1 : end] = response
    return {"input_ids": input_ids, "attention_mask": attention_mask, "shift_labels": shift_labels}


def roles_of(row: dict) -> tuple[str, ...]:
    return tuple(role for role in ROLES if role in row)


def lay_out(rows: list[dict], pad_id: int, layout: str) -> dict:
    """The rows as the model reads them; `lengths` (responses, B) are the responses' tokens."""
    names = roles_of(rows[0])
    lengths = torch.tensor([[len(row[name]) for row in rows] for name in names])
    laid = shared_prompt.pack(rows, names) if layout == shared_prompt.NAME else pad_triples(rows, pad_id)
    return laid | {"lengths": lengths}


def collate(rows: list[dict], pad_id: int, layout: str = "padded") -> dict:
    """A training batch: the responses laid out, their stored reference if there is one, how many tokens, whom to blame."""
    known = {"reference": torch.stack([row["reference"] for row in rows], dim=1)} if "reference" in rows[0] else {}
    tokens = sum(len(row["prompt"]) + len(row[name]) - 1 for row in rows for name in roles_of(row))
    names = [row["prompt_id"] for row in rows]
    return lay_out(rows, pad_id, layout) | known | {"tokens": torch.tensor(tokens), "prompt_ids": names}


def response_log_probs(model: torch.nn.Module, batch: dict) -> Tensor:
    """log pi(y|x) of the three responses, summed over their tokens with the end token: (3, B)."""
    if "layout" in batch:
        return shared_prompt.log_probs(model, batch).view(-1, len(batch["lengths"])).T
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "shift_labels")}
    return model(**inputs, fused_lm_head=True).log_probs.sum(dim=1).view_as(batch["lengths"])


def reference_log_probs(
    model: PreTrainedModel, rows: list[dict], size: int, pad_id: int, layout: str = "padded"
) -> Iterator[tuple[int, Tensor]]:
    """(place, log pi_ref (3,)) of every row, `size` rows of like length at a time."""
    order = sorted(
        range(len(rows)), key=lambda place: sum(len(rows[place][name]) for name in ("prompt", *roles_of(rows[place])))
    )
    model.eval()
    for start in range(0, len(order), size):
        places = order[start : start + size]
        batch = lay_out([rows[place] for place in places], pad_id, layout)
        with torch.no_grad():
            found = response_log_probs(model, send_to_device(batch, model.device))
        yield from zip(places, found.T.cpu(), strict=True)


def disable_dropout(model: PreTrainedModel) -> None:
    """In modules of its own and where a layer keeps the rate as a number, as Llama's attention does."""
    disable_dropout_in_model(model)
    for module in model.modules():
        for name in [name for name, value in vars(module).items() if "dropout" in name and isinstance(value, float)]:
            setattr(module, name, 0.0)


def make_ready(model: PreTrainedModel, rows: list[dict], pad_id: int, layout: str) -> str:
    """Prepares a model, before anything wraps it, for log-probabilities in the layout asked for, or in the plain one where
    that does not fit the model; returns the layout's name."""
    disable_dropout(model)
    add_fused_lm_head(model)
    if layout != shared_prompt.NAME:
        return layout
    by_length = sorted(rows, key=row_length)

    def try_out(how: str) -> Tensor:
        return response_log_probs(model, send_to_device(lay_out(by_length[:3], pad_id, how), model.device))

    longest = row_length(by_length[-1])
    if problem := shared_prompt.install(model, longest, partial(try_out, "padded"), partial(try_out, layout)):
        print(f"how.layout: each response is padded with its own prompt, since {problem}", flush=True)
        return "padded"
    return layout


def row_length(row: dict) -> int:
    """Tokens of the longest of the row's sequences."""
    return len(row["prompt"]) + max(len(row[name]) for name in roles_of(row))


class WrpoTrainer(Trainer):
    """Trains on rows of token tensors: prompt_id, prompt, and the objective's roles (source_best, own_best, own_worst)."""

    loss_is_scaled_for_ga = True  # compute_loss divides by the examples of the whole accumulation window

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        rows: list[dict],
        preference: Preference,
        pad_id: int,
        layout: str = "padded",
    ):
        self.layout = make_ready(without_adapter(model), rows, pad_id, layout)
        collator = partial(collate, pad_id=pad_id, layout=self.layout)
        super().__init__(model=model, args=args, train_dataset=rows, data_collator=collator)
        self.preference, self.pad_id = preference, pad_id
        self.window: list[Tensor] = []
        self.means: tuple[str, ...] = ()
        self.window_prompts: list[str] = []

    def store_reference(self, report: Callable[[int, int], None] = lambda done, total: None) -> None:
        """The policy before its first step is the reference: its log-probabilities become a column of the rows."""
        rows, rank, world = self.train_dataset, self.args.process_index, self.args.world_size
        mine, found = rows[rank::world], []
        with self.accelerator.autocast(), adapter_off(self.model):
            for place, values in reference_log_probs(
                self.model, mine, self.args.train_batch_size, self.pad_id, self.layout
            ):
                found.append((rank + place * world, values))
                report(len(found), len(mine))
        for place, values in gather_object(found):
            rows[place]["reference"] = values

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """One accumulation window and its number of examples over all processes: every example weighs the same."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        examples = torch.tensor(sum(len(batch["prompt_ids"]) for batch in batches), device=device)
        return batches, self.accelerator.reduce(examples).item()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The batch's share of the window's mean loss; what it saw is kept for the log."""
        log_probs = response_log_probs(model, inputs)
        values = self.preference.values(log_probs, inputs["lengths"], inputs.get("reference"))
        losses = self.preference.losses(values, self.alpha(self.state.global_step))
        if not torch.isfinite(losses).all():
            raise FloatingPointError(self.blame("loss", losses.tolist(), inputs["prompt_ids"]))
        self.remember({role: value.detach() for role, value in values.items()}, log_probs.detach(), inputs)
        # Processes average their gradients, while `num_items_in_batch` counts the examples of all of them.
        loss = losses.sum() * self.args.world_size / num_items_in_batch
        return (loss, {"log_probs": log_probs}) if return_outputs else loss

    def alpha(self, step: int) -> float | None:
        return self.preference.alpha(step, self.state.max_steps, self.state.log_history)

    def blame(self, name: str, value: object, prompts: list[str]) -> str:
        return f"{name} {value} at optimizer step {self.state.global_step}; prompt ids: {', '.join(prompts)}"

    def remember(self, values: dict[str, Tensor], log_probs: Tensor, inputs: dict) -> None:
        found = self.preference.metrics(values, log_probs, inputs["lengths"], self.alpha(self.state.global_step))
        self.means = tuple(name for name in MEANS if name in found)
        sums = [found[name].sum() for name in self.means]
        self.window.append(torch.stack([*sums, inputs["tokens"].to(sums[0]), sums[0].new_tensor(log_probs.shape[1])]))
        self.window_prompts += inputs["prompt_ids"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the window's means over all processes to what Trainer logs of an optimizer step."""
        if "loss" in logs:
            totals = self.accelerator.reduce(torch.stack(self.window).double().sum(dim=0)).tolist()
            *sums, tokens, examples = totals
            logs |= {name: value / examples for name, value in zip(self.means, sums, strict=True)}
            # Trainer logs after the step: alpha belongs to the step before.
            alpha = self.alpha(self.state.global_step - 1)
            logs |= {"alpha": alpha, "tokens": int(tokens), "examples": int(examples)}
            if not torch.isfinite(torch.tensor(logs["grad_norm"])):
                raise FloatingPointError(self.blame("gradient norm", logs["grad_norm"], self.window_prompts))
            self.window, self.window_prompts = [], []
        super().log(logs, start_time)


def write_steps(trainer: Trainer, file: Path) -> list[dict]:
    """One row per optimizer step, from what the trainer logged; every process knows them, the first writes them.

    The columns of y_ls stand only where the objective reads it.
    """
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    if trainer.is_world_process_zero():
        columns = [column for column in STEP if column.name in steps[0] or "source_worst" not in column.name]
        pq.write_table(pa.Table.from_pylist(steps, schema=pa.schema(columns)), file)
    return steps
