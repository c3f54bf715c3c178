"""Finds degenerate answers, which lose without a request to the judge: empty, the same for many prompts, a loop, or with
chat-template text.

A constant string reached a length-controlled win rate of 86 with a published judge, so such answers must not be judged.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

CONSTANT_SHARE, CONSTANT_AT_LEAST = 0.05, 3  # constant: the same words for this share and number of prompts
TAILS, REPEATS_IN_TAIL = (400, 1200, 4000), 4  # a loop: the last characters are at least 4 times the same text
MARKUP = re.compile(
    r"<[|｜][\w▁]+[|｜]>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|<(?:bos|eos|pad)>"
    # text that addresses the judge: a verdict in its format, or the markers around the answers in its prompt
    r"|\[\[[AB]>{1,2}[AB]\]\]|\[\[A=B\]\]|\[\[[ABC]\]\]|(?i:rating)\W{0,5}\[\[\d|['\"]综合得分['\"]\s*[:：]"
    r"|\"model_identifier\"\s*:|[\[<]\|?The (?:Start|End) of (?:the )?Assistant"
)


def find_degenerate_answers(answers: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The defect of each degenerate answer, by question."""
    frequency = Counter(turn for turns in answers.values() for turn in set(map(keep_letters_and_digits, turns)))
    constant_count = max(CONSTANT_AT_LEAST, CONSTANT_SHARE * len(answers))
    defects = {}
    for question, turns in answers.items():
        if reasons := [reason for turn in turns if (reason := find_defect(turn.strip(), frequency, constant_count))]:
            defects[question] = reasons[0]
    return defects


def find_defect(text: str, frequency: Counter, constant_count: float) -> str | None:
    if not has_visible_text(text):
        return "empty"
    if frequency[keep_letters_and_digits(text)] >= constant_count:
        return "constant"
    if MARKUP.search(text):
        return "template leak"
    return "repeated" if is_looping(text) else None


def has_visible_text(text: str) -> bool:
    """True if the text has a letter, number, punctuation mark or symbol; Unicode has more spaces than str.strip removes."""
    return any(unicodedata.category(character)[0] in "LNPS" for character in text)


def keep_letters_and_digits(text: str) -> str:
    """The text's letters and digits. Answers that differ only in punctuation or emoji become equal."""
    return "".join(filter(str.isalnum, text.casefold()))


def is_looping(text: str) -> bool:
    """True if the end of the text repeats a sentence or a page. A tail's shortest period is its length minus its longest
    border."""
    tails = [text[-length:] for length in TAILS if len(text) >= length]
    return any(len(tail) - compute_border_length(tail) <= len(tail) // REPEATS_IN_TAIL for tail in tails)


def compute_border_length(text: str) -> int:
    """Length of the longest border: a proper prefix that is also a suffix (Knuth-Morris-Pratt)."""
    lengths, longest = [0] * len(text), 0
    for place in range(1, len(text)):
        while longest and text[place] != text[longest]:
            longest = lengths[longest - 1]
        longest += text[place] == text[longest]
        lengths[place] = longest
    return longest
