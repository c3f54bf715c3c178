"""Program: computes an objective's reference, log pi(y|x) of responses. `python -m tasks.wrpo.reference JOB OUT`.

Reads a model folder and a Parquet file of responses with their prompts' messages; writes `part-*.parquet` of LOG_PROB one
after another. Several processes share the prompts; under ZeRO 3 they also share the weights, as in the training. The precision
is that of training: weights in fp32 or quantised, with `bf16` arithmetic by autocast.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import cast

import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.loading import load_tokenizer
from tasks.program import Progress, run_program
from tasks.records import CUT_OFF, LOG_PROB
from tasks.rows.parts import write_part
from tasks.tokens import response_ids
from tasks.training import zero
from tasks.training.arguments import enough_memory
from tasks.training.processes import leave_process_group
from tasks.training.qlora import load_base
from tasks.wrpo.batches import count_batches, encode_pairs, reference_log_probs, roles_of, row_tokens
from tasks.wrpo.layout_trial import choose_layout, prepare_model
from tasks.wrpo.settings import ROLES

PART = 1024  # rows per part; a kill loses at most one part per process


def main(job: dict, out: Path, progress: Progress) -> dict | None:
    with enough_memory(job, "wrpo"):
        return measure_reference(job, out, progress)


def measure_reference(job: dict, out: Path, progress: Progress) -> dict | None:
    what, state = job["what"], PartialState(cpu=not torch.cuda.is_available())
    torch.set_num_threads(job["threads"])
    tokenizer = load_tokenizer(job["model"])
    rows, too_long, truncated = encode_by_prompt(pq.read_table(job["rows"]).to_pylist(), tokenizer, what["max_length"])
    if state.is_main_process and too_long:
        write_part(too_long, LOG_PROB, out / "part-too-long.parquet")
    layout = compute_share(job, rows, cast(int, tokenizer.pad_token_id or 0), state, out, progress) if rows else None
    leave_process_group()
    return {"truncated": truncated} | ({"layout": layout} if rows else {}) if state.is_main_process else None


def compute_share(job: dict, rows: list[dict], pad_id: int, state: PartialState, out: Path, progress: Progress) -> str:
    """Computes and writes this process's share of the rows; returns the layout used."""
    total, done, device = sum(len(row["content_ids"]) for row in rows), 0, cast(torch.device, state.device)
    how = job["how"]
    policy = load_policy(job, rows, device)
    with policy.autocast():
        layout = choose_layout(
            policy.model, policy.wrapped, rows, pad_id, how["layout"], job["what"]["precision"], device
        )
    share = rows[state.process_index :: state.num_processes]
    for start in range(0, len(share), PART):
        made, some = [], share[start : start + PART]
        with policy.autocast():
            for place, values in reference_log_probs(policy.wrapped, some, how["device_batch_size"], pad_id, layout):
                made += reference_rows(some[place], values.tolist())
                if state.is_main_process:
                    progress(min(total, (done + len(made)) * state.num_processes), total)
        write_part(made, LOG_PROB, out / f"part-{state.process_index:03d}-{start:09d}.parquet")
        done += len(made)
    with policy.autocast():
        for _ in range(missing_turns(rows, how["device_batch_size"], state) if policy.split else 0):
            list(reference_log_probs(policy.wrapped, rows[:1], 1, pad_id, layout))
    return layout


@dataclass(frozen=True)
class Policy:
    """The model, and the module to call: they differ if ZeRO 3 splits the weights among the processes."""

    model: PreTrainedModel
    wrapped: torch.nn.Module
    split: bool
    autocast: Callable[[], AbstractContextManager]


def load_policy(job: dict, rows: list[dict], device: torch.device) -> Policy:
    what, deepspeed = job["what"], job["how"].get("deepspeed")
    if not zero.splits_weights(deepspeed):
        model = load_base(job["model"], what.get("base", "full"), what["precision"], device)
        torch.nn.Module.to(model, device)
        prepare_model(model, rows)
        rounded = partial(torch.autocast, device.type, torch.bfloat16, enabled=what["precision"] == "bf16")
        return Policy(model, model, split=False, autocast=rounded)
    config = zero.forward_config(deepspeed, what["precision"])
    begun = zero.begin_split_loading(config)  # ends with its last reference
    model = load_base(job["model"], what.get("base", "full"), what["precision"])
    prepare_model(model, rows)
    wrapped = zero.wrap_forward(model, begun.config)
    return Policy(model, wrapped, split=True, autocast=nullcontext)  # the wrapped model rounds as in the training


def missing_turns(rows: list[dict], size: int, state: PartialState) -> int:
    """How many batches fewer than another process this one has: under ZeRO 3 every pass needs all processes."""
    shares = [rows[process :: state.num_processes] for process in range(state.num_processes)]
    turns = [sum(count_batches(share[at : at + PART], size) for at in range(0, len(share), PART)) for share in shares]
    return max(turns) - turns[state.process_index]


def encode_by_prompt(
    responses: list[dict], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[dict], list[dict], int]:
    """Returns token rows (a prompt and up to four responses each, short rows first), LOG_PROB rows without a number for
    responses without tokens or with a prompt that is too long, and the number of responses that were cut."""
    is_empty = lambda one: one["finish_reason"] == CUT_OFF and not response_ids(tokenizer, one["text"], cut_off=True)
    empty = {one["content_id"] for one in responses if is_empty(one)}
    rows, truncated = [], 0
    too_long = [{"content_id": one, "log_prob": None, "tokens": 0} for one in sorted(empty)]
    for some in groups_of_four([one for one in responses if one["content_id"] not in empty]):
        names, ids = ROLES[: len(some)], [response["content_id"] for response in some]
        record = dict(some[0])
        for name, response in zip(names, some, strict=True):
            record |= {name: response["text"], f"{name}_finish_reason": response["finish_reason"]}
        encoded, counts = encode_pairs([record], tokenizer, max_length, names)
        rows += [row | {"content_ids": ids} for row in encoded]
        too_long += [{"content_id": one, "log_prob": None, "tokens": 0} for one in ids * counts["left_out"]]
        truncated += counts["truncated"]
    return sorted(rows, key=row_tokens), too_long, truncated


def groups_of_four(responses: list[dict]) -> Iterator[list[dict]]:
    for _, group in groupby(responses, key=lambda response: response["prompt_id"]):
        alike = list(group)
        yield from (alike[start : start + len(ROLES)] for start in range(0, len(alike), len(ROLES)))


def reference_rows(row: dict, values: list[float]) -> list[dict]:
    return [
        {"content_id": response, "log_prob": value, "tokens": len(row[name])}
        for response, value, name in zip(row["content_ids"], values, roles_of(row), strict=True)
    ]


if __name__ == "__main__":
    run_program(main)
