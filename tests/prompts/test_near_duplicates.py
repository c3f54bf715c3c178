"""MinHash and near-duplicates against exact sets of word triples."""

import random
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from tasks.prompts.minhash import compute_signatures, estimate_similarity, pairs_between, pairs_within
from tasks.prompts.near_duplicates import near_duplicates
from tasks.prompts.words import hash_words, make_grams, split_words, text_key
from tests.prompts.texts import Writer


@cache
def triples(text: str) -> frozenset:
    parts = text.lower().translate(str.maketrans("", "", ".?!")).split()
    return frozenset({tuple(parts[place : place + 3]) for place in range(max(1, len(parts) - 2))})


def jaccard(one: str, other: str) -> float:
    both = len(triples(one) & triples(other))
    return both / (len(triples(one)) + len(triples(other)) - both)


@pytest.fixture(scope="module")
def texts():
    """Some texts, and from every third one copies that have lost more and more of their words."""
    writer = Writer(7)
    originals = writer.texts(150)
    copies = [writer.thinned(text, share) for text in originals[::3] for share in (0.01, 0.04, 0.08, 0.15, 0.3)]
    mixed = originals + copies
    random.Random(3).shuffle(mixed)
    return mixed


def test_the_share_of_equal_minima_estimates_the_jaccard_similarity(texts):
    signed = compute_signatures([hash_words(text) for text in texts])
    near = np.array([(a, b) for a, b in combinations(range(len(texts)), 2) if jaccard(texts[a], texts[b]) > 0.05])
    real = np.array([jaccard(texts[a], texts[b]) for a, b in near])
    error = estimate_similarity(near, signed, signed) - real
    assert len(near) > 300
    assert abs(error.mean()) < 0.01  # unbiased
    assert error.std() < 1.15 * np.sqrt((real * (1 - real) / signed.shape[1]).mean())  # no worse than independent draws
    far = np.array([(0, other) for other in range(1, 100) if not jaccard(texts[0], texts[other])])
    assert estimate_similarity(far, signed, signed).max() < 0.05


def test_similar_pairs_are_proposed_and_strangers_are_not(texts):
    signed = compute_signatures([hash_words(text) for text in texts])
    found = {tuple(pair) for pair in pairs_within(signed).tolist()}
    assert {tuple(pair) for pair in pairs_between(signed, signed).tolist() if pair[0] < pair[1]} >= found
    similar = {(a, b) for a, b in combinations(range(len(texts)), 2) if jaccard(texts[a], texts[b]) >= 0.5}
    assert len(similar & found) >= 0.99 * len(similar) and len(similar) > 100
    assert len(found) < 4 * len(similar)


@pytest.mark.parametrize("least", [0.5, 0.7, 0.9])
def test_near_duplicates_are_what_comparing_all_pairs_in_order_finds(texts, least):
    documents = [hash_words(text) for text in texts]
    found = near_duplicates(documents, compute_signatures(documents), least)
    stays: list[int] = []
    expected = set()
    for number, text in enumerate(texts):
        if any(jaccard(texts[earlier], text) >= least for earlier in stays):
            expected.add(number)
        else:
            stays.append(number)
    assert set(found) == expected and len(expected) > 20
    for later, (first, similarity) in found.items():
        assert first not in found and first < later
        assert similarity == pytest.approx(jaccard(texts[first], texts[later]))


def test_a_thousand_copies_of_a_template_leave_one():
    """Buckets are not compared all with all: what repeats the first of a bucket must go all the same."""
    source = random.Random(1)
    frame = " ".join(Writer(1).draw(80))
    documents = [hash_words(f"{frame} {source.randrange(10**9)}") for _ in range(1000)]
    assert len(near_duplicates(documents, compute_signatures(documents), 0.7)) == 999


def test_short_texts_are_equal_or_different():
    documents = [hash_words(text) for text in ("Hello", "hello!", "Hello there", "Goodbye", "!!!", "???", "!!!")]
    assert {
        later: first for later, (first, _) in near_duplicates(documents, compute_signatures(documents), 0.7).items()
    } == {
        1: 0,
        6: 4,
    }


def test_words_ignore_case_width_and_punctuation():
    assert split_words("Don't, ＡＢＣ 你好world_1") == ["Don", "t", "ABC", "你", "好", "world_1"]
    assert text_key("Straße, CAFÉ!") == text_key("STRASSE cafe\u0301") != text_key("strasse caf")
    assert text_key("a b") != text_key("ab") and text_key("b a") != text_key("a b")


def test_grams_of_a_text_do_not_depend_on_its_neighbours():
    texts = ["a b c d", "", "x", "c d e f g"]
    together = make_grams([hash_words(text) for text in texts], 3)
    assert together.owner.tolist() == [0, 0, 3, 3, 3]
    apart = [make_grams([hash_words(text)], 3).hashes.tolist() for text in texts]
    assert (
        together.hashes.tolist() == [one for some in apart for one in some] and len(set(together.hashes.tolist())) == 5
    )
    assert make_grams([hash_words("x")], 3, pad=True).owner.tolist() == [0]
