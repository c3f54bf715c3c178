"""Token ids of prompts and responses, built apart and then joined: the prompt is a prefix of the whole by construction.

Sampling, SFT and WRPO all take their ids from here, so they see the very same tokens.
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
    """The model's chat template has no place for a prompt's turns, as Gemma's has none for a system's."""


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], prompt_id: str | None = None
) -> list[int]:
    """The messages and the opening of the assistant's turn, with one BOS where the model has one.

    Words of a message that spell a special token stay words: a user who writes <|eot_id|> ends no turn.
    """
    try:
        if any(special_pattern(tokenizer).search(turn["content"]) for turn in messages):
            ids = around_words(tokenizer, messages)
        else:
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    except TemplateError as problem:
        whose, roles = f"prompt {prompt_id}: " if prompt_id else "", ", ".join(turn["role"] for turn in messages)
        raise TurnsRefused(
            f"{whose}the chat template of {tokenizer.name_or_path} refuses its turns ({roles}): {problem}"
        ) from problem
    return with_one_bos(tokenizer, list(cast(list[int], ids)))


@lru_cache(maxsize=4)
def special_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern:
    """Finds what spells a special token, the longest first."""
    words = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or "(?!)")


def around_words(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> list[int]:
    """The same of messages that spell special tokens. While the template is rendered each of these words stands behind a
    mark, which is no space, no letter and no tag: of the templates' filters none sees through it."""
    special, marks = special_pattern(tokenizer), marks_for(tokenizer, "".join(turn["content"] for turn in messages))
    hide = lambda turn: turn | {"content": special.sub(lambda word: marks[word[0]], turn["content"])}
    rendered = tokenizer.apply_chat_template([*map(hide, messages)], add_generation_prompt=True, tokenize=False)
    return ids_around(tokenizer, cast(str, rendered), marks)


def around_answer(tokenizer: PreTrainedTokenizerBase, before: str, said: str, after: str) -> list[int]:
    """Of a whole conversation as a template wrote it, where the words of its last turn alone stay words."""
    marks = marks_for(tokenizer, said)
    hidden = special_pattern(tokenizer).sub(lambda word: marks[word[0]], said)
    return ids_around(tokenizer, before + hidden + after, marks)


def marks_for(tokenizer: PreTrainedTokenizerBase, said: str) -> dict[str, str]:
    """For each word in it that spells a special token a character for private use that is not in it."""
    return dict(
        zip(sorted(set(special_pattern(tokenizer).findall(said))), unused_characters(0xF0000, said), strict=False)
    )


def unused_characters(first: int, text: str) -> Iterator[str]:
    return (chr(point) for point in range(first, first + 0xFFFE) if chr(point) not in text)


def ids_around(tokenizer: PreTrainedTokenizerBase, rendered: str, marks: dict[str, str]) -> list[int]:
    """What a template wrote around words that are hidden behind marks. What spells a special token in it is the template's
    own: another character stands in for that, and the words come back. Then all is encoded at once, so that the words
    merge with their neighbours as in any text, and the rest is what it is without them."""
    places = [place for place, token in tokenizer.added_tokens_decoder.items() if token.special]
    stand_ins = dict(zip(places, unused_characters(0x100000, rendered), strict=False))
    stands = lambda word: stand_ins[cast(int, tokenizer.convert_tokens_to_ids(word[0]))]
    text = special_pattern(tokenizer).sub(stands, rendered).translate({ord(mark): word for word, mark in marks.items()})
    reader, meant = with_stand_ins(tokenizer, tuple(stand_ins.items()))
    ids = cast(list[int], reader(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    return [meant.get(token, token) for token in ids]


@lru_cache(maxsize=2)
def with_stand_ins(
    tokenizer: PreTrainedTokenizerBase, stand_ins: tuple[tuple[int, str], ...]
) -> tuple[PreTrainedTokenizerBase, dict[int, int]]:
    """A tokenizer to which these characters are what the special tokens are to this one, the spaces that some of them
    swallow among it; and which id each of theirs means. They are not special themselves: it reads specials as words."""
    from transformers import AddedToken

    reader, added = copy.deepcopy(tokenizer), tokenizer.added_tokens_decoder
    ways = ("lstrip", "rstrip", "single_word", "normalized")
    like = lambda place, char: AddedToken(char, special=False, **{way: getattr(added[place], way) for way in ways})
    reader.add_tokens([like(place, char) for place, char in stand_ins])
    return reader, {cast(int, reader.convert_tokens_to_ids(char)): place for place, char in stand_ins}


def with_one_bos(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """Templates write BOS, tokenizers add BOS, some do both and some neither: one where either does, else none."""
    bos = cast(int | None, tokenizer.bos_token_id)
    if bos is None:
        return ids
    leading = next((place for place, token in enumerate(ids) if token != bos), len(ids))
    return [bos] * (leading > 0 or adds_bos(tokenizer)) + ids[leading:]


@lru_cache(maxsize=4)
def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    return tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def response_ids(tokenizer: PreTrainedTokenizerBase, text: str, cut_off: bool = False) -> list[int]:
    """The text and one end token. Words that spell a special token stay words: no second end can hide in the text.

    A response that was cut off did not end: it has no end token, and no replacement character for half of a letter.
    """
    said = text.rstrip("\ufffd") if cut_off else text
    ids = tokenizer(said, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids if cut_off else [*ids, end_id(tokenizer)]


@lru_cache(maxsize=4)
def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that the chat template puts after an assistant's turn, where generation stops.

    Not simply `eos_token`: Gemma ends turns with <end_of_turn> and Phi-3 with <|end|>, and neither is its eos.
    """
    mark = "the answer"
    turns = [{"role": "user", "content": "the question"}, {"role": "assistant", "content": mark}]
    after = cast(str, tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(mark)[2]
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    end = next((token for token in ids if token in tokenizer.added_tokens_decoder), tokenizer.eos_token_id)
    if end is None:
        raise BadInput(f"{tokenizer.name_or_path}: no end token after an assistant's turn in the chat template, no eos")
    return cast(int, end)


def generation_of(folder: str | Path) -> GenerationConfig:
    """The model's generation config; one without the file has it in its configuration."""
    from transformers import AutoConfig, GenerationConfig

    if (Path(folder) / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_model_config(
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    )
