"""Finds prompts that contain items of a benchmark: by exact text, by common n-grams, by MinHash.

Paraphrases are not found. The thresholds are in `Deciding`; the rules were measured on planted items.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from tasks.prompts.language import detect_language
from tasks.prompts.minhash import compute_signatures, pairs_between, verify_pairs
from tasks.prompts.words import hash_words, make_grams, normalise_text, text_blocks, text_key, word_pattern

GRAM = {"en": 8, "other": 8, "zh": 13}  # in words: eight Chinese words have about thirteen characters
TEMPLATE = 50  # a gram that more different items share belongs to their common template and is ignored
SHORT = (
    5  # words: shorter items occur in any text by chance; from here to a gram's size, all words of an item are one gram
)
EXCERPT = 300  # characters
COLUMNS = ["prompt", "item", "method", "amount"]


@dataclass(frozen=True)
class Item:
    """A text of a benchmark's item; an item with several texts is several Items with the same id."""

    benchmark: str
    id: str
    text: str


def is_short(item: Item) -> bool:
    """Whether the item is shorter than an n-gram: then only exact matches count, other matches are for review."""
    return len(hash_words(item.text)) < GRAM[detect_language(item.text)]


def find_exact(turns: Sequence[Sequence[str]], items: Sequence[Item]) -> pd.DataFrame:
    """Prompts with a turn, or all turns together, equal to an item except for case, punctuation and spacing."""
    known = {text_key(item.text): number for number, item in reversed(list(enumerate(items)))}
    rows = []
    for prompt, texts in enumerate(turns):
        found = {known[each]: None for each in map(text_key, {"\n".join(texts), *texts}) if each in known}
        rows += [(prompt, item, "exact", 1.0) for item in found]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"prompt": int, "item": int, "amount": float})


def find_contained(
    documents: Sequence[np.ndarray], items: Sequence[Item], others: Sequence[np.ndarray]
) -> pd.DataFrame:
    """For each prompt and item with a common gram: the share of the item's distinct grams that the prompt contains. An item
    shorter than a gram counts as one gram (`all-words`)."""
    usual = np.array([GRAM[detect_language(item.text)] for item in items])
    lengths = np.array([len(words) for words in others])
    sizes = np.minimum(usual, np.where(lengths >= SHORT, lengths, usual))
    texts = pd.factorize(pd.Series([words.tobytes() for words in others]))[0]
    found = [shared_grams(documents, others, texts, sizes, size) for size in np.unique(sizes).tolist()]
    table = pd.concat(found)
    short = sizes[table["item"]] < usual[table["item"]]
    return table.assign(method=np.where(short, "all-words", table["method"]))


def shared_grams(
    documents, others: Sequence[np.ndarray], texts: np.ndarray, sizes: np.ndarray, size: int
) -> pd.DataFrame:
    """The same for items whose grams have this size. `texts` numbers the items' distinct texts."""
    selected = np.flatnonzero(sizes == size)
    found = make_grams([others[number] for number in selected.tolist()], size)
    index = pd.DataFrame({"gram": found.hashes, "item": selected[found.owner]}).drop_duplicates()
    held_by = (
        pd.DataFrame({"gram": index["gram"], "text": texts[index["item"]]}).drop_duplicates().groupby("gram").size()
    )
    index = index[index["gram"].map(held_by) <= TEMPLATE]
    total = index.groupby("item").size()
    filled = np.zeros(2**22, bool)  # a fast first test by the low bits: most grams of prompts are in no item
    filled[index["gram"].to_numpy() & np.uint64(2**22 - 1)] = True
    hits = []
    for start, block in text_blocks(documents):
        prompt_grams = make_grams(block, size)
        likely = filled[prompt_grams.hashes & np.uint64(2**22 - 1)]
        hits.append(pd.DataFrame({"gram": prompt_grams.hashes[likely], "prompt": prompt_grams.owner[likely] + start}))
    pairs = pd.concat(hits).drop_duplicates().merge(index, on="gram").groupby(["prompt", "item"]).size()
    table = pairs.rename("amount").reset_index()
    table["amount"] = table["amount"] / table["item"].map(total)
    return table.assign(method=f"{size}-gram")[COLUMNS]


def find_similar(documents, signed: np.ndarray, others: Sequence[np.ndarray], least: float) -> pd.DataFrame:
    """Prompts and items whose shingle sets have at least the similarity `least`."""
    item_signatures = compute_signatures(others)
    proposed = pairs_between(signed, item_signatures)
    pairs, similarities = verify_pairs(proposed, (signed, item_signatures), (documents, others), least)
    table = pd.DataFrame({"prompt": pairs[:, 0], "item": pairs[:, 1], "amount": similarities})
    return table.assign(method="minhash")[COLUMNS]


def find_contamination(
    turns: Sequence[Sequence[str]],
    documents: Sequence[np.ndarray],
    signed: np.ndarray,
    items: Sequence[Item],
    containment: float,
    similarity: float,
) -> pd.DataFrame:
    """For each prompt and method, the item that matches best. `contaminated` is the verdict; matches below the threshold, and
    a short item's words inside a longer text, are only for review."""
    others = [hash_words(item.text) for item in items]
    found = pd.concat(
        [
            find_exact(turns, items),
            find_contained(documents, items, others),
            find_similar(documents, signed, others, similarity),
        ]
    ).sort_values(["prompt", "method", "amount", "item"], ascending=[True, True, False, True])
    best = found.drop_duplicates(["prompt", "method"]).reset_index(drop=True)
    enough = best["method"].str.endswith("gram") & (best["amount"] >= containment)
    best["contaminated"] = enough | best["method"].isin(["exact", "minhash"])
    matches = cast("Iterable[tuple[int, int, str]]", best[["prompt", "item", "method"]].itertuples(index=False))
    best["excerpt"] = [
        find_excerpt("\n".join(turns[prompt]), items[item].text, method) for prompt, item, method in matches
    ]
    best["benchmark"] = [items[number].benchmark for number in best["item"]]
    best["item"] = [items[number].id for number in best["item"]]
    return best


def find_excerpt(text: str, item: str, method: str) -> str:
    """The longest part of the prompt (in normal form) whose grams are all in the item."""
    size = int(method.removesuffix("-gram")) if method.endswith("-gram") else 3
    size = len(hash_words(item)) if method == "all-words" else size
    text = normalise_text(text)
    places = [match.span() for match in word_pattern(text).finditer(text)]
    known = set(make_grams([hash_words(item)], size).hashes.tolist())
    inside = [gram in known for gram in make_grams([hash_words(text)], size).hashes.tolist()]
    best, run = (0, 0), 0
    for place, hit in enumerate(inside):
        run = run + 1 if hit else 0
        if run > best[1]:
            best = (place - run + 1, run)
    if not best[1]:
        return text[:EXCERPT]
    start, end = places[best[0]][0], places[best[0] + best[1] + size - 2][1]
    return text[start:end][:EXCERPT]
