"""The demo's task: skills on short strings of letters, whose right answers a program knows.

A part of the world is kept for prompts: models never see those strings while they are made.
"""

import hashlib
import random

from tasks.records import prompt_id

LETTERS = "abcdefghij"
LENGTH = 5

SKILLS = {
    "copy": lambda letters: letters,
    "flip": lambda letters: letters[::-1],
    "sort": lambda letters: "".join(sorted(letters)),
    "next": lambda letters: "".join(LETTERS[(LETTERS.index(letter) + 1) % len(LETTERS)] for letter in letters),
    "back": lambda letters: "".join(LETTERS[(LETTERS.index(letter) - 1) % len(LETTERS)] for letter in letters),
    "roll": lambda letters: letters[1:] + letters[:1],
}


def kept_for_prompts(letters: str) -> bool:
    """A fifth of all strings: prompts come from it, training examples never do."""
    return hashlib.sha256(letters.encode()).digest()[0] % 5 == 0


def draw_letters(source: random.Random, for_prompts: bool) -> str:
    while True:
        letters = "".join(source.choice(LETTERS) for _ in range(LENGTH))
        if kept_for_prompts(letters) == for_prompts:
            return letters


def prompts(count: int, seed: int) -> list[dict]:
    """`count` different puzzles as prompt records, the skills in turn, no string of letters used twice."""
    source, seen, records = random.Random(f"prompts {seed}"), set(), []
    for number in range(count):
        skill = list(SKILLS)[number % len(SKILLS)]
        while (letters := draw_letters(source, for_prompts=True)) in seen:
            pass
        seen.add(letters)
        messages = [{"role": "user", "content": f"{skill} {letters}"}]
        records.append(
            {
                "prompt_id": prompt_id(messages),
                "messages": messages,
                "category": skill,
                "gold": SKILLS[skill](letters),
                "part": None,
                "response": None,
            }
        )
    return records
