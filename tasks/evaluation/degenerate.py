"""Answers that no judge need be paid for: empty, one constant for many prompts, a loop, or the chat template leaking out.

A constant string scored 86 length-controlled at a published judge; here it loses before anybody is asked.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

CONSTANT_SHARE, CONSTANT_AT_LEAST = 0.05, 3  # the same words to so many of the prompts
TAILS, TURNS_IN_TAIL = (400, 1200, 4000), 4  # characters at the end, and how often they say the same
MARKUP = re.compile(
    r"<[|｜][\w▁]+[|｜]>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|<(?:bos|eos|pad)>"
    # words that speak to a judge: a verdict in its form, the marks around what it is shown
    r"|\[\[[AB]>{1,2}[AB]\]\]|\[\[A=B\]\]|\[\[[ABC]\]\]|(?i:rating)\W{0,5}\[\[\d|['\"]综合得分['\"]\s*[:：]"
    r"|\"model_identifier\"\s*:|[\[<]\|?The (?:Start|End) of (?:the )?Assistant"
)


def flags(answers: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """What is wrong with the answers to a suite's questions, by question; those in order are not in it."""
    said = Counter(turn for turns in answers.values() for turn in set(map(words, turns)))
    often = max(CONSTANT_AT_LEAST, CONSTANT_SHARE * len(answers))
    found = {}
    for question, turns in answers.items():
        if reasons := [reason for turn in turns if (reason := flag(turn.strip(), said, often))]:
            found[question] = reasons[0]
    return found


def flag(text: str, said: Counter, often: float) -> str | None:
    if not seen(text):
        return "empty"
    if said[words(text)] >= often:
        return "constant"
    if MARKUP.search(text):
        return "template leak"
    return "repeated" if loops(text) else None


def seen(text: str) -> bool:
    """Whether anything of it is: letters, numbers, signs; not spaces, however Unicode calls them."""
    return any(unicodedata.category(sign)[0] in "LNPS" for sign in text)


def words(text: str) -> str:
    """What is the same in answers that differ by signs alone: one more exclamation mark, another emoji."""
    return "".join(filter(str.isalnum, text.casefold()))


def loops(text: str) -> bool:
    """Whether its end says one thing again and again, a sentence or a page: the shortest period of a tail, by its failure
    function."""
    tails = [text[-length:] for length in TAILS if len(text) >= length]
    return any(len(tail) - overlap(tail) <= len(tail) // TURNS_IN_TAIL for tail in tails)


def overlap(text: str) -> int:
    """Length of the longest beginning that is also an end."""
    lengths, longest = [0] * len(text), 0
    for place in range(1, len(text)):
        while longest and text[place] != text[longest]:
            longest = lengths[longest - 1]
        longest += text[place] == text[longest]
        lengths[place] = longest
    return longest
