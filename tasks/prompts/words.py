"""Texts as arrays of hashed words, and their n-grams, to find near-duplicates and contamination.

A word is a sequence of letters and digits, regardless of case. In Chinese and Japanese text, where words are not separated,
every character is a word. Punctuation and spacing are ignored. A word's hash depends on the word only.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

EAST = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(f"[{EAST}]|[^\\W{EAST}]+")
ASCII_WORD = re.compile(r"\w+", re.ASCII)
ANYTHING = re.compile(r"\S")
FACTOR = np.uint64(0x9E3779B97F4A7C15)
BLOCK = 100_000  # words at once: this fits into the processor's cache


class Hashes(dict):
    """word -> 64-bit hash of its casefolded form, computed once."""

    def __missing__(self, word: str) -> int:
        folded = hashlib.blake2b(word.casefold().encode(), digest_size=8).digest()
        return self.setdefault(word, int.from_bytes(folded, "little"))


HASHES = Hashes()


def normal(text: str) -> str:
    """The text with one form for characters that look alike: full-width letters, ligatures, composed accents (NFKC)."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def pattern(text: str) -> re.Pattern:
    """The pattern that finds words in this normalised text; for a text of signs only, each sign is a word."""
    found = ASCII_WORD if text.isascii() else WORD
    return found if found.search(text) else ANYTHING


def words(text: str) -> list[str]:
    text = normal(text)
    return pattern(text).findall(text)


def hashed(text: str) -> np.ndarray:
    return np.fromiter(map(HASHES.__getitem__, words(text)), np.uint64)


def key(text: str) -> str:
    """A digest that is equal for texts that differ only in case, punctuation and spacing."""
    return hashlib.sha256(hashed(text).tobytes()).hexdigest()


@dataclass(frozen=True)
class Grams:
    """Hashes of the n-grams of several texts; `owner` is the index of each n-gram's text."""

    hashes: np.ndarray
    owner: np.ndarray


def grams(documents: Sequence[np.ndarray], size: int, pad: bool = False) -> Grams:
    """The n-grams of hashed texts. A text shorter than `size` has no n-gram, or with `pad` one of all its words."""
    if pad:
        documents = [np.pad(words, (0, max(0, size - len(words)))) for words in documents]
    lengths = np.fromiter(map(len, documents), np.int64, len(documents))
    flat = np.concatenate([*documents, np.zeros(size, np.uint64)]).astype(np.uint64)
    counts = np.maximum(lengths - size + 1, 0)
    owner = np.repeat(np.arange(len(documents)), counts)
    starts = np.cumsum(lengths) - lengths
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + starts[owner]
    rolled = np.zeros(len(flat) - size + 1, np.uint64)
    for offset in range(size):
        rolled = rolled * FACTOR + flat[offset : len(flat) - size + 1 + offset]
    return Grams(mixed(rolled[place]), owner)


def mixed(values: np.ndarray) -> np.ndarray:
    """Mixes the bits so that each depends on all others (the finaliser of splitmix64), as MinHash needs."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def blocks(documents: Sequence[np.ndarray]) -> Iterator[tuple[int, Sequence[np.ndarray]]]:
    """Yields blocks of texts with about BLOCK words each, with the index of the block's first text."""
    start, size = 0, 0
    for number, document in enumerate(documents, 1):
        size += len(document)
        if size >= BLOCK or number == len(documents):
            yield start, documents[start:number]
            start, size = number, 0
