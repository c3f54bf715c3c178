"""What the demo's networks are taught: puzzles with good answers, and with answers that are wrong in many ways.

Only here, where models are made, and in the evaluation does anyone see a right answer.
"""

import random
from dataclasses import dataclass

from tasks.demo.skills import LETTERS, SKILLS, draw_letters

MISTAKEN_FOR = {"copy": "flip", "flip": "roll", "roll": "copy", "next": "back", "back": "sort", "sort": "next"}


@dataclass(frozen=True)
class Lesson:
    question: str
    right: str  # the right answer
    answer: str  # the answer that is shown


def puzzle(source: random.Random, skill: str) -> tuple[str, str]:
    letters = draw_letters(source, for_prompts=False)
    return f"{skill} {letters}", SKILLS[skill](letters)


def speaking(source: random.Random, weights: dict[str, float], noise: float) -> Lesson:
    """For a generator: the right answer, or with the chance `noise` that of the skill it is mistaken for."""
    skill = source.choices(list(weights), list(weights.values()))[0]
    question, right = puzzle(source, skill)
    mistaken = SKILLS[MISTAKEN_FOR[skill]](question.split()[1])
    return Lesson(question, right, mistaken if source.random() < noise else right)


def judging(source: random.Random) -> Lesson:
    """For a reward model: an answer right or wrong in some way."""
    skill = source.choice(list(SKILLS))
    question, right = puzzle(source, skill)
    return Lesson(question, right, spoilt(source, question, right))


def spoilt(source: random.Random, question: str, right: str) -> str:
    """Wrong in one of many ways, or right one time in five."""
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
    """One or two letters are others."""
    letters = list(right)
    for place in source.sample(range(len(letters)), source.choice((1, 1, 2))):
        letters[place] = source.choice(LETTERS)
    return "".join(letters)


def joined(source: random.Random, right: str, other: str) -> str:
    """Begun with one skill, ended with another."""
    place = source.randrange(1, len(right))
    first, second = (right, other) if source.random() < 0.5 else (other, right)
    return first[:place] + second[place:]


def exchanged(source: random.Random, right: str) -> str:
    """Two letters have changed places."""
    letters = list(right)
    one, other = source.sample(range(len(letters)), 2)
    letters[one], letters[other] = letters[other], letters[one]
    return "".join(letters)


def worth(lesson: Lesson) -> float:
    """How good the answer is, 1 to -1: the share of right letters, a letter too many or too few counting as wrong."""
    hits = sum(given == wanted for given, wanted in zip(lesson.answer, lesson.right, strict=False))
    wrong = max(len(lesson.right), len(lesson.answer)) - hits
    return 1.0 - 2.0 * min(1.0, wrong / len(lesson.right))
