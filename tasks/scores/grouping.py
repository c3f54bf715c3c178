"""Groups texts into batches: by similar length, or by shared prompt."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from tasks.scores.conversation import Text

PROMPTS = 4  # a batch of prompts is this many times smaller than one of responses: its keys and values stay in memory


def by_length(texts: Sequence[Text], indices: Sequence[int], size: int, tokens: int) -> Iterator[list[int]]:
    lengths = [len(text.ids) for text in texts]
    for some in even_lists(sorted(indices, key=lengths.__getitem__), size):
        yield from narrow(some, [lengths[index] for index in some], tokens)


def group_by_prompt(texts: Sequence[Text], size: int, tokens: int) -> tuple[list[int], Iterator[list[int]]]:
    """Returns the texts whose prompt no other text shares, and batches of the other texts: all texts of a few prompts of
    similar length."""
    times = Counter(text.prompt_ids for text in texts if text.shareable)
    alone, of = [], {}
    for index, text in enumerate(texts):
        if text.shareable and times[text.prompt_ids] > 1:
            of.setdefault(text.prompt_ids, []).append(index)
        else:
            alone.append(index)
    passes = (
        few
        for some in even_lists(sorted(of, key=len), max(1, size // PROMPTS))
        for few in narrow(some, [len(prompt) for prompt in some], tokens // PROMPTS)
    )
    return alone, ([index for prompt in some for index in of[prompt]] for some in passes)


def narrow(items: list, lengths: Sequence[int], tokens: int) -> Iterator[list]:
    """Splits items in their order into lists of at most `tokens` tokens, padding to the longest item included."""
    some: list = []
    longest = 0
    for item, length in zip(items, lengths, strict=True):
        longest = max(longest, length)
        if some and longest * (len(some) + 1) > tokens:
            yield some
            some, longest = [], length
        some.append(item)
    if some:
        yield some


def even_lists(items: list, size: int) -> Iterator[list]:
    """Splits items into lists of about equal size, at most `size` items each."""
    step = math.ceil(len(items) / max(1, math.ceil(len(items) / size))) or 1
    for start in range(0, len(items), step):
        yield items[start : start + step]
