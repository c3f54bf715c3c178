r"""Finds the final answer of a response: its boxes, else the text after ####, else the text after a phrase.

Adjacent boxes that only a comma, "and" or "or" separates (`\boxed{1}, \boxed{2}`) are one answer with several values. Otherwise
the last box counts. If the right answer has as many values as the response has boxes, all boxes together are a second reading.
"""

import re
from itertools import pairwise
from typing import NamedTuple

from tasks.checks.statements import read_statement, read_values

VERB = r"(?: is| are| (?:w|sh)ould be| must be|:|\s*=)(?: (?:therefore|simply|equal to|approximately|about)\b|:)*"
SUBJECT = r"(?: (?:to|for|of) [^.:=\n]{1,80}?)?"
PHRASES = [  # in order of priority; the last occurrence of the first phrase found counts
    rf"final answers?{SUBJECT}{VERB}",
    rf"(?:answers?|correct (?:option|choice)){SUBJECT}{VERB}",
    rf"(?:option|choice){VERB}",
    r"答案(?:是|为|：|:)",
    r"(?:final )?answer[*_ ]*$",
]
PHRASE_PATTERNS = [re.compile(rf"(?<![a-z]){phrase}[\s:*_]*", re.IGNORECASE | re.MULTILINE) for phrase in PHRASES]
BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(\d+))")
MARKS_OF_MATH = re.compile(r"\\(?:q?quad|text|left|right|[()\[\],;: ])|[${}*]")
SEPARATORS = {",", ";", "&", "and", "or"}
PERCENT = re.compile(r"[$*\s]*(?:\\\)|\\\])?\s*(?:\\?%|percent\b|percentage\b|pct\b)", re.IGNORECASE)


class Box(NamedTuple):
    start: int
    end: int
    content: str


def find_final_answers(text: str, value_count: int = 1) -> list[list[str]]:
    """Returns possible readings of the final answer, each a list of values; no reading if no final answer is marked."""
    if boxes := find_boxes(text):
        return read_last_words(text[boxes[-1].end :]) or choose_boxes(text, boxes, value_count)
    if "####" in text and (behind := text.rpartition("####")[2].strip()):
        return find_phrased(behind) or [[value] for value in read_values(read_statement(behind))]
    return find_phrased(text)


def read_last_words(text: str) -> list[list[str]]:
    """A value after the last box replaces the boxes if the text calls it the final answer."""
    return [[value] for [value] in find_phrased(text, PHRASE_PATTERNS[:1]) if re.search(r"[\d\\$]", value)]


def find_phrased(text: str, patterns: list[re.Pattern] = PHRASE_PATTERNS) -> list[list[str]]:
    for pattern in patterns:
        for match in reversed(list(pattern.finditer(text))):
            if statement := read_statement(text[match.end() :]):
                return find_phrased(statement) or [[value] for value in read_values(statement)]
    return []


def find_boxes(text: str) -> list[Box]:
    boxes = []
    for match in BOX.finditer(text):
        if not boxes or match.start() >= boxes[-1].end:  # else this box is inside the previous one
            boxes.append(read_box(text, match))
    return boxes


def read_box(text: str, match: re.Match) -> Box:
    """Reads one box. A box without a closing brace was cut off; its content is empty."""
    content, end = (match[1], match.end()) if match[1] else read_braces(text, match.end())
    if content and (percent := PERCENT.match(text, end)):
        return Box(match.start(), percent.end(), content.strip() + r"\%")
    return Box(match.start(), end, content.strip())


def read_braces(text: str, start: int) -> tuple[str, int]:
    depth = 1
    for place in range(start, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if not depth:
            return text[start:place], place + 1
    return "", len(text)


def choose_boxes(text: str, boxes: list[Box], value_count: int) -> list[list[str]]:
    group = [boxes[-1]]
    for before, box in reversed(list(pairwise(boxes))):
        if not are_joined(text[before.end : box.start]):
            break
        group.insert(0, before)
    readings = [list_contents(group)]
    if value_count > 1 and len(everything := list_contents(boxes)) == value_count:
        readings.append(everything)
    return readings


def are_joined(between: str) -> bool:
    """True if two boxes are values of one answer: between them only a few words, a separator and a name with `=`."""
    words = re.sub(r"([,;&=])", r" \1 ", MARKS_OF_MATH.sub(" ", between)).split()
    if words and words[-1] == "=":
        words = words[:-2]
    return not words or (words[-1].lower() in SEPARATORS and len(words) <= 5)


def list_contents(boxes: list[Box]) -> list[str]:
    return list(dict.fromkeys(box.content for box in boxes))
