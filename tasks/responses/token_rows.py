"""Code that all engines share: reads the wanted rows, turns prompts into token ids, and turns answers into rows."""

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


class TokenRequest(NamedTuple):
    """A wanted row, the token ids of its prompt, and the maximum number of tokens of its answer (`room`)."""

    row: dict
    ids: list[int]
    room: int


def rows_of(job: dict) -> Iterator[dict]:
    """Yields the wanted rows with their messages. Reads in batches: Python objects take much more memory than Arrow."""
    prompts = pq.read_table(job["prompts"], columns=["prompt_id", "messages"])
    place = {prompt: number for number, prompt in enumerate(prompts["prompt_id"].to_pylist())}
    messages = prompts["messages"]
    for batch in pq.ParquetFile(job["rows"]).iter_batches(BATCH):
        for row in batch.to_pylist():
            yield row | {"messages": messages[place[row["prompt_id"]]].as_py()}


def count_of(job: dict) -> int:
    return pq.read_metadata(job["rows"]).num_rows


def jobs_of(job: dict, out: Path) -> list[tuple[dict, Path]]:
    """The job and those beside it, which sample the same model in the same engine, each with the folder of its parts."""
    everything = [(job, out), *(({**job, **other}, out / other["out"]) for other in job.get("beside", []))]
    asked = [(each, folder) for each, folder in everything if count_of(each)]
    for _, folder in asked:
        folder.mkdir(parents=True, exist_ok=True)
    return asked


class Reader:
    """Turns rows into token ids. Tokenizes each prompt once, since the samples of a prompt are adjacent."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context: int, max_new_tokens: int):
        self.tokenizer, self.context, self.max_new_tokens = tokenizer, context, max_new_tokens
        self.last: tuple[str, list[int]] = ("", [])

    def __call__(self, row: dict) -> TokenRequest | dict:
        """Returns the request, or a refusal row with the reason if the prompt cannot be sent."""
        if self.last[0] != row["prompt_id"]:
            try:
                self.last = row["prompt_id"], prompt_ids(self.tokenizer, row["messages"])
            except BadInput as problem:  # the chat template rejects these turns
                return refusal_row(
                    row, f"the template refuses it: {problem.__cause__ or problem}"
                )  # the cause, because the message of BadInput names a local folder
        ids = self.last[1]
        room = min(self.max_new_tokens, self.context - len(ids))
        if room < 1:
            return refusal_row(row, f"too long: {len(ids)} tokens, context {self.context}", len(ids))
        return TokenRequest(row, ids, room)


def context_of(folder: str | Path) -> int:
    """The model's maximum number of tokens, prompt and response together."""
    if (context := getattr(read_config(folder), "max_position_embeddings", None)) is None:
        raise BadInput(f"model: the configuration in {folder} has no max_position_embeddings")
    return context


def read_config(folder: str | Path) -> PretrainedConfig:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_text_config()


def longest_row(job: dict, reader: Reader) -> int:
    """Tokens of the longest prompt with its response: the context length that an engine has to reserve."""
    requests = (one for one in map(reader, rows_of(job)) if isinstance(one, TokenRequest))
    return max((len(one.ids) + one.room for one in requests), default=reader.context)


def reserved_length(longest: int, how: dict) -> int:
    """The context length that vLLM reserves. A smaller one than the longest row would cut responses, so it is refused."""
    if 0 < how["max_model_len"] < longest:
        raise BadInput(
            f"max_model_len: {how['max_model_len']:,}, but the longest prompt with its response has {longest:,} tokens; "
            "raise it, or lower sampling.max_new_tokens"
        )
    return how["max_model_len"] or longest


def engine_seed(rows: dict) -> int:
    """A seed for an engine whose requests have none: that of its first row, so that no two programs have the same."""
    first = next(pq.ParquetFile(rows["rows"]).iter_batches(1, columns=["seed"]))
    return first["seed"][0].as_py() % 2**31


def name_engine(version: str, precision: str, how: dict) -> str:
    """The engine as its rows name it, with all settings that change the distribution of responses."""
    words = [f"vllm {version} {precision}"]
    if how["quantization"] and how["quantization"] not in precision.split():
        words.append(how["quantization"])
    if how["kv_cache_dtype"] != "auto":
        words.append(f"kv-cache {how['kv_cache_dtype']}")
    if how["seeds"] == "engine":
        words.append("seed of the engine")
    return " ".join([*words, *(f"{name}={value}" for name, value in sorted(how["extra"].items()))])


def find_end_tokens(generation: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end an answer: the chat template's end token, as in training, and the model's eos tokens."""
    own = generation.eos_token_id
    return {end_id(tokenizer), *(own if isinstance(own, list) else [] if own is None else [own])}


def answer_row(
    tokenizer: PreTrainedTokenizerBase, row: dict, prompt_tokens: int, ids: list[int], ends: set[int], engine: str
) -> dict:
    """Makes a row with the text before the end token. The end token is counted in `tokens`."""
    stop = next((place for place, token in enumerate(ids) if token in ends), None)
    kept = ids if stop is None else ids[:stop]
    text = cast(str, tokenizer.decode(kept, skip_special_tokens=True))
    return make_row(
        row, text, prompt_tokens, len(kept) + (stop is not None), "length" if stop is None else "stop", engine
    )


def refusal_row(row: dict, reason: str, prompt_tokens: int = 0, engine: str = "") -> dict:
    """A row for a prompt without an answer. It is stored, so the prompt is not sent again."""
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
