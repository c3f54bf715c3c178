"""Texts as arrays of hashed words, and their n-grams: what near-duplicates and contamination are found by.

A word is a run of letters and digits, whatever its case; of Chinese and Japanese text, where words have no gaps, every
character is one. Punctuation and spacing do not count. Hashes do not depend on what else is read.
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
BLOCK = 100_000  # words at once: what the arithmetic needs stays in the processor's cache


class Hashes(dict):
    """word -> 64 bits of its folded form, computed once."""

    def __missing__(self, word: str) -> int:
        folded = hashlib.blake2b(word.casefold().encode(), digest_size=8).digest()
        return self.setdefault(word, int.from_bytes(folded, "little"))


HASHES = Hashes()


def normal(text: str) -> str:
    """One form of what looks the same: full-width letters, ligatures, composed accents."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def pattern(text: str) -> re.Pattern:
    """What cuts this (normal) text into words; a text of signs alone is cut into its signs."""
    found = ASCII_WORD if text.isascii() else WORD
    return found if found.search(text) else ANYTHING


def words(text: str) -> list[str]:
    text = normal(text)
    return pattern(text).findall(text)


def hashed(text: str) -> np.ndarray:
    return np.fromiter(map(HASHES.__getitem__, words(text)), np.uint64)


def key(text: str) -> str:
    """Equal for texts that differ in case, punctuation and spacing alone."""
    return hashlib.sha256(hashed(text).tobytes()).hexdigest()


@dataclass(frozen=True)
class Grams:
    """Hashes of the n-grams of some texts, text by text; `owner` says of which text each is."""

    hashes: np.ndarray
    owner: np.ndarray


def grams(documents: Sequence[np.ndarray], size: int, pad: bool = False) -> Grams:
    """The n-grams of hashed texts. A shorter text has none, or with `pad` a single one of all its words."""
    if pad:
        documents = [np.pad(one, (0, max(0, size - len(one)))) for one in documents]
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
    """Every bit depends on every bit (the finaliser of splitmix64): MinHash needs it."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def blocks(documents: Sequence[np.ndarray]) -> Iterator[tuple[int, Sequence[np.ndarray]]]:
    """Runs of texts of about BLOCK words, each with the number of its first text."""
    start, held = 0, 0
    for number, one in enumerate(documents, 1):
        held += len(one)
        if held >= BLOCK or number == len(documents):
            yield start, documents[start:number]
            start, held = number, 0
