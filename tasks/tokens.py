"""Builds the token ids of prompts and responses separately, so that the prompt's ids are always a prefix of the whole.

Sampling, SFT and WRPO all use these functions, so they get identical tokens.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jinja2 import TemplateError

from infra.errors import BadInput

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase


class TurnsRefused(BadInput):
    """The model's chat template refuses a prompt's turns, for example Gemma's template a system turn."""


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], prompt_id: str | None = None
) -> list[int]:
    """The ids of the messages and of the start of the assistant's turn, with one BOS if the model uses BOS.

    Special-token text in a message is encoded as plain text: a user who writes <|eot_id|> does not end a turn.
    """
    try:
        if any(special_pattern(tokenizer).search(turn["content"]) for turn in messages):
            ids = around_words(tokenizer, messages)
        else:
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    except TemplateError as problem:
        owner, roles = f"prompt {prompt_id}: " if prompt_id else "", ", ".join(turn["role"] for turn in messages)
        raise TurnsRefused(
            f"{owner}the chat template of {tokenizer.name_or_path} refuses its turns ({roles}): {problem}"
        ) from problem
    return with_one_bos(tokenizer, list(cast(list[int], ids)))


@lru_cache(maxsize=4)
def special_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern:
    """A pattern that finds the text of special tokens, the longest first."""
    words = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or "(?!)")


def around_words(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> list[int]:
    """The ids of messages that contain special-token text. While the template renders, a private-use character replaces
    each such text, so the template's filters cannot change it."""
    special, marks = special_pattern(tokenizer), marks_for(tokenizer, "".join(turn["content"] for turn in messages))
    hide = lambda turn: turn | {"content": special.sub(lambda word: marks[word[0]], turn["content"])}
    rendered = tokenizer.apply_chat_template([*map(hide, messages)], add_generation_prompt=True, tokenize=False)
    return ids_around(tokenizer, cast(str, rendered), marks)


def around_answer(tokenizer: PreTrainedTokenizerBase, before: str, answer: str, after: str) -> list[int]:
    """The ids of a rendered conversation `before + answer + after`; special-token text in `answer` is encoded as plain text."""
    marks = marks_for(tokenizer, answer)
    hidden = special_pattern(tokenizer).sub(lambda word: marks[word[0]], answer)
    return ids_around(tokenizer, before + hidden + after, marks)


def marks_for(tokenizer: PreTrainedTokenizerBase, answer: str) -> dict[str, str]:
    """Maps each special-token text in `answer` to a private-use character that `answer` does not contain."""
    return dict(
        zip(sorted(set(special_pattern(tokenizer).findall(answer))), unused_characters(0xF0000, answer), strict=False)
    )


def unused_characters(first: int, text: str) -> Iterator[str]:
    return (chr(point) for point in range(first, first + 0xFFFE) if chr(point) not in text)


def ids_around(tokenizer: PreTrainedTokenizerBase, rendered: str, marks: dict[str, str]) -> list[int]:
    """The ids of a rendered template in which `marks` replace special-token text of users. The remaining special tokens
    come from the template: stand-in characters replace them, and the marks become their text again. Then one encoding of
    the whole lets this text merge with its neighbours as any text does, and leaves the other ids unchanged."""
    places = [place for place, token in tokenizer.added_tokens_decoder.items() if token.special]
    stand_ins = dict(zip(places, unused_characters(0x100000, rendered), strict=False))
    stand_in_of = lambda word: stand_ins[cast(int, tokenizer.convert_tokens_to_ids(word[0]))]
    text = (
        special_pattern(tokenizer)
        .sub(stand_in_of, rendered)
        .translate({ord(mark): word for word, mark in marks.items()})
    )
    reader, meant = with_stand_ins(tokenizer, tuple(stand_ins.items()))
    ids = cast(list[int], reader(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    return [meant.get(token, token) for token in ids]


@lru_cache(maxsize=2)
def with_stand_ins(
    tokenizer: PreTrainedTokenizerBase, stand_ins: tuple[tuple[int, str], ...]
) -> tuple[PreTrainedTokenizerBase, dict[int, int]]:
    """A copy of the tokenizer in which the stand-in characters act like the special tokens (also by stripping spaces), and
    the special id of each new id. The stand-ins are not special, since the copy encodes special tokens as plain text."""
    from transformers import AddedToken

    reader, added = copy.deepcopy(tokenizer), tokenizer.added_tokens_decoder
    ways = ("lstrip", "rstrip", "single_word", "normalized")
    like = lambda place, char: AddedToken(char, special=False, **{way: getattr(added[place], way) for way in ways})
    reader.add_tokens([like(place, char) for place, char in stand_ins])
    return reader, {cast(int, reader.convert_tokens_to_ids(char)): place for place, char in stand_ins}


def with_one_bos(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """Leaves exactly one BOS if the template or the tokenizer adds one (some pairs add two), otherwise none."""
    bos = cast(int | None, tokenizer.bos_token_id)
    if bos is None:
        return ids
    leading = next((place for place, token in enumerate(ids) if token != bos), len(ids))
    return [bos] * (leading > 0 or adds_bos(tokenizer)) + ids[leading:]


@lru_cache(maxsize=4)
def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    return tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def response_ids(tokenizer: PreTrainedTokenizerBase, text: str, cut_off: bool = False) -> list[int]:
    """The ids of the text and one end token. Special-token text is encoded as plain text, so it cannot end the response.

    A response that was cut off gets no end token and loses the replacement character of an incomplete last letter.
    """
    kept = text.rstrip("\ufffd") if cut_off else text
    ids = tokenizer(kept, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids if cut_off else [*ids, end_id(tokenizer)]


@lru_cache(maxsize=4)
def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that the chat template puts after an assistant's turn; generation stops there.

    It may differ from `eos_token`: Gemma ends turns with <end_of_turn> and Phi-3 with <|end|>, and neither is its eos.
    """
    mark = "the answer"
    turns = [{"role": "user", "content": "the question"}, {"role": "assistant", "content": mark}]
    after = cast(str, tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(mark)[2]
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    end = next((token for token in ids if token in tokenizer.added_tokens_decoder), tokenizer.eos_token_id)
    if end is None:
        raise BadInput(
            f"{tokenizer.name_or_path}: the chat template writes no end token after an assistant's turn, and there"
            " is no eos token"
        )
    return cast(int, end)


def generation_of(folder: str | Path) -> GenerationConfig:
    """The model's generation config, from its file or otherwise from the model's configuration."""
    from transformers import AutoConfig, GenerationConfig

    if (Path(folder) / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_model_config(
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    )
