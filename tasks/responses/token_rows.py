"""What engines share: the rows that are asked for, their prompts as token ids, and the row that becomes of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import pyarrow.parquet as pq

from infra.errors import BadInput
from tasks.records import REFUSED, content_id
from tasks.tokens import end_id, prompt_ids

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

BATCH = 1024


class Asked(NamedTuple):
    """A row to be answered, and its prompt's ids, with the tokens that its answer may have."""

    row: dict
    ids: list[int]
    room: int


def rows_of(job: dict) -> Iterator[dict]:
    """The rows that are asked for, with their messages. Few of them are in memory as Python values."""
    prompts = pq.read_table(job["prompts"], columns=["prompt_id", "messages"])
    place = {prompt: number for number, prompt in enumerate(prompts["prompt_id"].to_pylist())}
    messages = prompts["messages"]
    for batch in pq.ParquetFile(job["rows"]).iter_batches(BATCH):
        for row in batch.to_pylist():
            yield row | {"messages": messages[place[row["prompt_id"]]].as_py()}


def count_of(job: dict) -> int:
    return pq.read_metadata(job["rows"]).num_rows


class Reader:
    """Turns rows into token ids, each prompt once: the samples of a prompt stand side by side."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context: int, max_new_tokens: int):
        self.tokenizer, self.context, self.max_new_tokens = tokenizer, context, max_new_tokens
        self.last: tuple[str, list[int]] = ("", [])

    def __call__(self, row: dict) -> Asked | dict:
        """What is asked, or a row that says why it cannot be."""
        if self.last[0] != row["prompt_id"]:
            try:
                self.last = row["prompt_id"], prompt_ids(self.tokenizer, row["messages"])
            except BadInput as problem:  # its chat template has no place for such turns
                return refusal_row(
                    row, f"the template refuses it: {problem.__cause__ or problem}"
                )  # no folder of this machine's
        ids = self.last[1]
        room = min(self.max_new_tokens, self.context - len(ids))
        if room < 1:
            return refusal_row(row, f"too long: {len(ids)} tokens, context {self.context}", len(ids))
        return Asked(row, ids, room)


def context_of(folder: str | Path) -> int:
    """Tokens of prompt and response together that the model is made for."""
    if (context := getattr(read_config(folder), "max_position_embeddings", None)) is None:
        raise BadInput(f"model: the configuration in {folder} says no max_position_embeddings")
    return context


def read_config(folder: str | Path) -> PretrainedConfig:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_text_config()


def longest_row(job: dict, reader: Reader) -> int:
    """Tokens that the longest prompt needs with its response: what an engine has to be able to hold, and no more."""
    asked = (one for one in map(reader, rows_of(job)) if isinstance(one, Asked))
    return max((len(one.ids) + one.room for one in asked), default=reader.context)


def find_end_tokens(generation: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Where an answer ends: the token that the chat template puts there, as in training, and the model's own."""
    own = generation.eos_token_id
    return {end_id(tokenizer), *(own if isinstance(own, list) else [] if own is None else [own])}


def answer_row(
    tokenizer: PreTrainedTokenizerBase, row: dict, prompt_tokens: int, ids: list[int], ends: set[int], engine: str
) -> dict:
    """A row of the pool: the text up to the end token, which counts as a token but is not text."""
    stop = next((place for place, token in enumerate(ids) if token in ends), None)
    kept = ids if stop is None else ids[:stop]
    text = cast(str, tokenizer.decode(kept, skip_special_tokens=True))
    return make_row(
        row, text, prompt_tokens, len(kept) + (stop is not None), "length" if stop is None else "stop", engine
    )


def refusal_row(row: dict, reason: str, prompt_tokens: int = 0, engine: str = "") -> dict:
    """A prompt that no try gets an answer to: counted, kept, and not asked again."""
    return make_row(row, "", prompt_tokens, 0, f"{REFUSED}{reason}", engine)


def make_row(
    row: dict, text: str, prompt_tokens: int | None, tokens: int | None, finish_reason: str, engine: str
) -> dict:
    return {
        "prompt_id": row["prompt_id"],
        "sample_index": row["sample_index"],
        "text": text,
        "content_id": content_id(row["prompt_id"], text),
        "prompt_tokens": prompt_tokens,
        "tokens": tokens,
        "finish_reason": finish_reason,
        "seed": row["seed"],
        "engine": engine,
    }
