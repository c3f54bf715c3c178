"""From records to log-probabilities: token rows, batches in either layout, and preparation of the model.

TRL's fused LM head gives the log-probability of each response token without holding the log-softmax over the vocabulary.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby

import torch
from accelerate.utils import send_to_device
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from infra.errors import BadInput
from tasks.positions import refuse_longer_rows
from tasks.records import CUT_OFF
from tasks.tokens import TurnsRefused, prompt_ids, response_ids
from tasks.training.truncation import fit_responses
from tasks.wrpo import shared_prompt
from tasks.wrpo.settings import ROLES
from tasks.wrpo.settings import TRIPLE as RESPONSES


def encode_pairs(
    records: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int, roles: tuple[str, ...] = RESPONSES
) -> tuple[list[dict], dict[str, int]]:
    """Rows of token tensors, each with its record, and counts: `truncated` responses were cut to `max_length`, `cut_off` ones
    were cut when sampled, `left_out` records have a prompt that is too long or refused by the template, or a response
    without tokens."""
    rows, truncated, cut_offs = [], 0, 0
    for record in records:
        try:
            prompt = prompt_ids(tokenizer, record["messages"], record["prompt_id"])
        except TurnsRefused:
            continue
        if missing := [role for role in roles if record[role] is None]:
            raise BadInput(f"prompt {record['prompt_id']}: has no {missing[0]}, which the objective needs")
        cut_off = [record[f"{role}_finish_reason"] == CUT_OFF for role in roles]
        encoded = [response_ids(tokenizer, record[role], cut) for role, cut in zip(roles, cut_off, strict=True)]
        if not all(encoded) or (fitting := fit_responses(prompt, encoded, max_length)) is None:
            continue
        responses, cut = fitting
        truncated += cut
        cut_offs += sum(cut_off)
        ids = dict(zip(("prompt", *roles), [prompt, *responses], strict=True))
        tensors = {name: torch.tensor(value, dtype=torch.int32) for name, value in ids.items()}
        rows.append({"prompt_id": record["prompt_id"], "record": record} | tensors)
    return rows, {"truncated": truncated, "cut_off": cut_offs, "left_out": len(records) - len(rows)}


def pad_triples(rows: list[dict], pad_id: int) -> dict:
    """3B right-padded sequences: all y_ws, all y_wt, all y_l (another objective: its own responses). The last token of each
    is predicted, but not an input.
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
    """The model's inputs for the rows; `lengths` (responses, B) are the responses' numbers of tokens."""
    names = roles_of(rows[0])
    lengths = torch.tensor([[len(row[name]) for row in rows] for name in names])
    laid = shared_prompt.pack_rows(rows, names) if layout == shared_prompt.NAME else pad_triples(rows, pad_id)
    return laid | {"lengths": lengths}


def collate_rows(rows: list[dict], pad_id: int, layout: str = "padded") -> dict:
    """A training batch: model inputs, stored reference log-probabilities if any, row weights (0 for filler rows), token count,
    prompt ids for error messages."""
    known = {"reference": torch.stack([row["reference"] for row in rows], dim=1)} if "reference" in rows[0] else {}
    real = [row for row in rows if row.get("weight", 1.0)]
    tokens = sum(len(row["prompt"]) + len(row[name]) - 1 for row in real for name in roles_of(row))
    counts = {"tokens": torch.tensor(tokens), "prompt_ids": [row["prompt_id"] for row in real]}
    weights = torch.tensor([row.get("weight", 1.0) for row in rows])
    return lay_out(rows, pad_id, layout) | known | counts | {"weights": weights}


def response_log_probs(model: torch.nn.Module, batch: Mapping) -> Tensor:
    """log pi(y|x) of each response, summed over its tokens including the end token: (responses, B)."""
    if "layout" in batch:
        return shared_prompt.log_probs(model, batch).view(-1, len(batch["lengths"])).T
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "shift_labels")}
    return model(**inputs, fused_lm_head=True).log_probs.sum(dim=1).view_as(batch["lengths"])


def reference_log_probs(
    model: torch.nn.Module, rows: list[dict], size: int, pad_id: int, layout: str = "padded"
) -> Iterator[tuple[int, Tensor]]:
    """Yields (index, log pi (responses,)) for every row. A batch has `size` rows of similar length with the same roles."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda place: (roles_of(rows[place]), row_tokens(rows[place])))
    for _, alike in groupby(order, key=lambda place: roles_of(rows[place])):
        places = list(alike)
        for some in (places[start : start + size] for start in range(0, len(places), size)):
            batch = lay_out([rows[place] for place in some], pad_id, layout)
            with torch.no_grad():
                found = response_log_probs(model, send_to_device(batch, model.device))
            yield from zip(some, found.T.cpu(), strict=True)


def row_tokens(row: dict) -> int:
    """Number of tokens of the row's prompt and all its responses."""
    return sum(len(row[name]) for name in ("prompt", *roles_of(row)))


def disable_dropout(model: PreTrainedModel) -> None:
    """Disables dropout modules, and sets rates that a layer stores as a float to 0, for example in Llama's attention."""
    disable_dropout_in_model(model)
    for module in model.modules():
        for name in [name for name, value in vars(module).items() if "dropout" in name and isinstance(value, float)]:
            setattr(module, name, 0.0)


def make_ready(model: PreTrainedModel, rows: list[dict], pad_id: int, layout: str) -> str:
    """Prepares an unwrapped model for log-probabilities in `layout`, or in the padded layout if the model does not support it;
    returns the layout used."""
    refuse_longer_rows(model.config, max(map(row_length, rows)), "wrpo")
    disable_dropout(model)
    add_fused_lm_head(model)
    if layout != shared_prompt.NAME:
        return layout
    # The layouts are compared on up to three short rows: they need the same roles to form one batch.
    by_length = sorted(rows, key=row_length)
    few = [row for row in by_length if roles_of(row) == roles_of(by_length[0])][:3]

    def try_out(how: str) -> Tensor:
        return response_log_probs(model, send_to_device(lay_out(few, pad_id, how), model.device))

    longest = row_length(by_length[-1])
    if problem := shared_prompt.install_attention(model, longest, partial(try_out, "padded"), partial(try_out, layout)):
        print(f"how.layout: the padded layout is used, because {problem}", flush=True)
        return "padded"
    return layout


def row_length(row: dict) -> int:
    """Number of tokens of the prompt with the longest response."""
    return len(row["prompt"]) + max(len(row[name]) for name in roles_of(row))
