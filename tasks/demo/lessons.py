"""Training examples of the demo's networks: puzzles with right answers and with answers that are wrong in many ways.

Only this training and the evaluation see right answers; the pipeline between them does not.
"""

import random
from dataclasses import dataclass

from tasks.demo.skills import LETTERS, SKILLS, draw_letters

MISTAKEN_FOR = {"copy": "flip", "flip": "roll", "roll": "copy", "next": "back", "back": "sort", "sort": "next"}


@dataclass(frozen=True)
class Lesson:
    question: str
    right: str  # the right answer
    answer: str  # the answer that the network sees


def puzzle(source: random.Random, skill: str) -> tuple[str, str]:
    letters = draw_letters(source, for_prompts=False)
    return f"{skill} {letters}", SKILLS[skill](letters)


def speaking(source: random.Random, weights: dict[str, float], noise: float) -> Lesson:
    """For a generator: the right answer, or with probability `noise` the answer of the skill in MISTAKEN_FOR."""
    skill = source.choices(list(weights), list(weights.values()))[0]
    question, right = puzzle(source, skill)
    mistaken = SKILLS[MISTAKEN_FOR[skill]](question.split()[1])
    return Lesson(question, right, mistaken if source.random() < noise else right)


def judging(source: random.Random) -> Lesson:
    """For a reward model: an answer that is right or wrong in one of many ways."""
    skill = source.choice(list(SKILLS))
    question, right = puzzle(source, skill)
    return Lesson(question, right, spoilt(source, question, right))


def spoilt(source: random.Random, question: str, right: str) -> str:
    """The answer, right with probability 0.2 and otherwise wrong in one of many ways."""
    kind, letters = source.random(), question.split()[1]
    if kind < 0.20:
        return right
    if kind < 0.45:
        return "".join(source.choice(LETTERS) if source.random() < 0.5 else letter for letter in right)
    if kind < 0.60:
        return replaced(source, right)
    other = SKILLS[source.choice(list(SKILLS))](letters)
    if kind < 0.75:
        return other
    if kind < 0.85:
        return joined(source, right, other)
    if kind < 0.90:
        return exchanged(source, right)
    if kind < 0.95:
        return right[: source.randrange(1, len(right))]
    return right + "".join(source.choice(LETTERS) for _ in range(source.choice((1, 2))))


def replaced(source: random.Random, right: str) -> str:
    """Replaces one or two letters."""
    letters = list(right)
    for place in source.sample(range(len(letters)), source.choice((1, 1, 2))):
        letters[place] = source.choice(LETTERS)
    return "".join(letters)


def joined(source: random.Random, right: str, other: str) -> str:
    """The beginning of one answer and the end of the other."""
    place = source.randrange(1, len(right))
    first, second = (right, other) if source.random() < 0.5 else (other, right)
    return first[:place] + second[place:]


def exchanged(source: random.Random, right: str) -> str:
    """Swaps two letters."""
    letters = list(right)
    first, second = source.sample(range(len(letters)), 2)
    letters[first], letters[second] = letters[second], letters[first]
    return "".join(letters)


def worth(lesson: Lesson) -> float:
    """Score from -1 to 1 by the share of right letters; an extra or missing letter counts as wrong."""
    hits = sum(given == wanted for given, wanted in zip(lesson.answer, lesson.right, strict=False))
    wrong = max(len(lesson.right), len(lesson.answer)) - hits
    return 1.0 - 2.0 * min(1.0, wrong / len(lesson.right))
