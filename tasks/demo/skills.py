"""The demo's task: skills on short strings of letters, with right answers that a program can compute.

A fifth of all strings is kept for prompts; the networks are never trained on them.
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
    """True for a fifth of all strings: those that prompts use and training examples do not."""
    return hashlib.sha256(letters.encode()).digest()[0] % 5 == 0


def draw_letters(source: random.Random, for_prompts: bool) -> str:
    while True:
        letters = "".join(source.choice(LETTERS) for _ in range(LENGTH))
        if kept_for_prompts(letters) == for_prompts:
            return letters


def prompts(count: int, seed: int) -> list[dict]:
    """`count` puzzles as prompt records. The skills take turns; no string of letters is used twice."""
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
