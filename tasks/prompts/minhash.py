"""MinHash signatures of word shingles, and pairs of similar texts proposed by locality-sensitive hashing (Broder 1997).

42 bands of 3 values propose a pair of Jaccard similarity 0.5 with probability 0.996, of 0.7 with 1 - 5e-8, of 0.05 with
0.005. Proposed pairs are then compared exactly, so the reported similarities are exact.
"""

from collections.abc import Sequence

import numpy as np

from tasks.prompts.words import blocks, grams

SHINGLE = 3  # words
VALUES = 126
BAND = 3
# a text is compared with the first of its bucket and with so many texts before it, so that no bucket costs quadratic time
NEIGHBOURS = 50


def signatures(documents: Sequence[np.ndarray]) -> np.ndarray:
    """VALUES minima per text. Each uses another hash: a multiplication modulo 2**64, of which the high half is kept."""
    source = np.random.Generator(np.random.PCG64(20241203))
    factors = source.integers(0, 2**63, VALUES, np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = source.integers(0, 2**63, VALUES, np.uint64)
    found = np.empty((len(documents), VALUES), np.uint32)
    for start, block in blocks(documents):
        shingles = grams(block, SHINGLE, pad=True)
        firsts = np.searchsorted(shingles.owner, np.arange(len(block)))
        for number in range(VALUES):
            values = ((shingles.hashes * factors[number] + shifts[number]) >> np.uint64(32)).astype(np.uint32)
            found[start : start + len(block), number] = np.minimum.reduceat(values, firsts)
    return found


def bands(signed: np.ndarray) -> np.ndarray:
    """One key per band and text; texts with an equal key share a bucket."""
    parts = signed.reshape(len(signed), VALUES // BAND, BAND).astype(np.uint64)
    keys = (parts[:, :, 0] << np.uint64(32)) | parts[:, :, 1]
    return np.ascontiguousarray((keys * np.uint64(0x9E3779B97F4A7C15) + parts[:, :, 2]).T)


def pairs_within(signed: np.ndarray) -> np.ndarray:
    """Proposed pairs (earlier, later) among these texts, sorted, each once."""
    found = []
    for keys in bands(signed):
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        first = np.repeat(starts, np.diff(np.r_[starts, len(ordered)]))
        later = np.flatnonzero(first < np.arange(len(ordered)))
        found.append(np.stack([order[first[later]], order[later]], 1))
        for offset in range(1, NEIGHBOURS + 1):
            later = later[later - first[later] > offset]
            if not len(later):
                break
            found.append(np.stack([order[later - offset], order[later]], 1))
    return unique(found)


def pairs_between(signed: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Proposed pairs (text, other), sorted, each once."""
    found = []
    for keys, other_keys in zip(bands(signed), bands(others), strict=True):
        order = np.argsort(other_keys, kind="stable")
        ordered = other_keys[order]
        low, high = np.searchsorted(ordered, keys, "left"), np.searchsorted(ordered, keys, "right")
        counts = high - low
        text = np.repeat(np.arange(len(keys)), counts)
        place = np.arange(len(text)) - np.repeat(np.cumsum(counts) - counts, counts) + low[text]
        found.append(np.stack([text, order[place]], 1))
    return unique(found)


def unique(found: list[np.ndarray]) -> np.ndarray:
    joined = np.concatenate(found).astype(np.uint64) if found else np.empty((0, 2), np.uint64)
    single = np.unique(joined[:, 0] << np.uint64(32) | joined[:, 1])
    return np.stack([single >> np.uint64(32), single & np.uint64(0xFFFFFFFF)], 1).astype(np.int64)


def compared(
    pairs: np.ndarray,
    signed: tuple[np.ndarray, np.ndarray],
    documents: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    least: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The proposed pairs whose exact similarity is at least `least`, and their similarities."""
    pairs = pairs[estimates(pairs, *signed) >= least - 0.2]  # more than four standard errors of the estimate
    left, right = (shingle_sets(texts, pairs[:, side]) for side, texts in enumerate(documents))
    similarities = np.fromiter((jaccard(left[a], right[b]) for a, b in pairs.tolist()), float, len(pairs))
    kept = similarities >= least
    return pairs[kept], similarities[kept]


def estimates(pairs: np.ndarray, signed: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of equal values in two signatures: an unbiased estimate of the Jaccard similarity."""
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), 20_000):
        block = pairs[start : start + 20_000]
        found[start : start + 20_000] = (signed[block[:, 0]] == others[block[:, 1]]).mean(axis=1)
    return found


def shingle_sets(documents: Sequence[np.ndarray], wanted: np.ndarray) -> dict[int, np.ndarray]:
    return {
        number: np.unique(grams([documents[number]], SHINGLE, pad=True).hashes) for number in np.unique(wanted).tolist()
    }


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / (len(left) + len(right) - both)
