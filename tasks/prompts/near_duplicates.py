"""Near-duplicates: a text is dropped if an earlier text that is kept is similar enough."""

from collections.abc import Sequence

import numpy as np

from tasks.prompts.minhash import compared, pairs_within


def near_duplicates(documents: Sequence[np.ndarray], signed: np.ndarray, least: float) -> dict[int, tuple[int, float]]:
    """dropped text -> (the earlier text that it repeats, their Jaccard similarity). Texts are compared as sets of shingles.

    Only kept texts are compared with, so a chain of texts, each a little different from the one before, is not dropped whole.
    """
    pairs, similarities = compared(pairs_within(signed), (signed, signed), (documents, documents), least)
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    gone: dict[int, tuple[int, float]] = {}
    for (first, later), similarity in zip(pairs[order].tolist(), similarities[order].tolist(), strict=True):
        if first not in gone and later not in gone:
            gone[later] = (first, similarity)
    return gone
