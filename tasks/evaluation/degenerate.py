"""Answers that no judge need be paid for: empty, one constant for many prompts, a loop, or the chat template leaking out.

A constant string scored 86 length-controlled at a published judge; here it loses before anybody is asked.
"""

import re
from collections import Counter
from collections.abc import Mapping

CONSTANT_SHARE, CONSTANT_AT_LEAST = 0.05, 3  # the same words to so many of the prompts
TAIL, TURNS_IN_TAIL = 400, 4  # characters at the end, and how often they say the same
MARKUP = re.compile(
    r"<\|(?:im_start|im_end|eot_id|start_header_id|end_header_id|begin_of_text|endoftext|end|user|assistant|system)\|>"
    r"|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|<\|?(?:bos|eos|pad)\|?>"
    r"|\[\[[AB]>{1,2}[AB]\]\]|\[\[A=B\]\]|\"model_identifier\"\s*:"  # words that speak to a judge
)


def flags(answers: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """What is wrong with the answers to a suite's questions, by question; those in order are not in it."""
    said = Counter(turn.strip() for turns in answers.values() for turn in set(turns))
    often = max(CONSTANT_AT_LEAST, CONSTANT_SHARE * len(answers))
    found = {}
    for question, turns in answers.items():
        if reasons := [reason for turn in turns if (reason := flag(turn.strip(), said, often))]:
            found[question] = reasons[0]
    return found


def flag(text: str, said: Counter, often: float) -> str | None:
    if not text:
        return "empty"
    if said[text] >= often:
        return "constant"
    if MARKUP.search(text):
        return "template leak"
    return "repeated" if loops(text) else None


def loops(text: str) -> bool:
    """Whether its end says one thing again and again: the shortest period of the tail, by its failure function."""
    tail = text[-TAIL:]
    if len(tail) < TAIL:
        return False
    return len(tail) - overlap(tail) <= TAIL // TURNS_IN_TAIL


def overlap(text: str) -> int:
    """Length of the longest beginning that is also an end."""
    lengths, longest = [0] * len(text), 0
    for place in range(1, len(text)):
        while longest and text[place] != text[longest]:
            longest = lengths[longest - 1]
        longest += text[place] == text[longest]
        lengths[place] = longest
    return longest
