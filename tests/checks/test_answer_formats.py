"""Answers in the sentences of many models, through the program that checks responses: text and gold in, verdict out."""

import random

from tests.checks.phrasings import PHRASINGS, make_golds, spell_as_math


def write_responses(golds: list[str]) -> list[str]:
    return [form.format(gold=gold, math=spell_as_math(gold)) for form in PHRASINGS.values() for gold in golds]


def test_eight_phrasings_of_200_golds_are_all_right(check_answers):
    golds = make_golds()
    texts = write_responses(golds)
    assert len(texts) == 1600
    verdicts = check_answers([(gold, text) for gold, text in zip(golds * len(PHRASINGS), texts, strict=True)])
    assert [text for text, verdict in zip(texts, verdicts, strict=True) if verdict != "passed"] == []


def test_answers_to_other_questions_are_wrong(check_answers):
    """At most 2 of 1,000 may pass by accident."""
    golds = make_golds()
    random.Random(3).shuffle(golds)
    others = golds[1:] + golds[:1]
    pairs = list(zip(golds * len(PHRASINGS), write_responses(others), strict=True))
    verdicts = check_answers(pairs)
    accepted = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict == "passed"]
    assert len(accepted) <= len(pairs) * 2 / 1000, accepted


def test_small_numbers_are_told_apart(check_answers):
    wrong = [
        (r"6.63 \times 10^{-34}", r"\boxed{1.05 \times 10^{-34}}"),
        (r"6.63 \times 10^{-34} \text{ J s}", r"The answer is $1.05 \times 10^{-34}$ J s."),
        ("0.0000001", r"\boxed{0.0000002}"),
        (r"\frac{1}{2^{99}}", r"\boxed{\frac{1}{2^{98}}}"),
        ("1/2^99", "The answer is 1/2^98."),
        ("(0.0000001, 3)", r"\boxed{(0.0000002, 3)}"),
        ("0", r"\boxed{10^{-9}}"),
    ]
    right = [
        (r"6.63 \times 10^{-34}", r"\boxed{6.63 \cdot 10^{-34}}"),
        (r"6.63 \times 10^{-34}", r"\boxed{0.663 \times 10^{-33}}"),
        (r"6.02 \times 10^{23}", r"\boxed{60.2 \times 10^{22}}"),
        (r"\frac{1}{2^{99}}", r"\boxed{2^{-99}}"),
        (r"\frac{1}{3}", r"\boxed{0.333333}"),
        (r"\frac{1}{30}", r"\boxed{0.033333}"),
    ]
    assert check_answers(wrong) == ["failed"] * len(wrong)
    assert check_answers(right) == ["passed"] * len(right)
