"""Program: compares answers with gold answers. Writes "ready", then for each line {text, gold} a line {correct}.

It may hang or use much memory on some inputs: `worker.py` kills it after a time limit.
"""

import json
import re
import resource
import sys

from tasks.checks.expressions import holds_expression, is_same_expression
from tasks.checks.final_answers import find_final_answers
from tasks.checks.quantities import compare_quantities
from tasks.checks.spelling import is_spelled_alike, normalise_spelling, strip_math_signs
from tasks.checks.statements import read_values

MEMORY = 4 << 30
LONGEST_ANSWER = 1000  # characters; a longer answer can only be right if the right answer is long too
LONGEST_WHOLE = 300  # characters; a shorter response without phrase or box may be an answer as a whole
FUNCTIONS = "log|ln|exp|sin|cos|tan|cot|sec|csc|arc|sinh|pi|max|min|lim|sqrt|frac|sum|prod|int|gcd|det|binom"
NAME = re.compile(  # x, x_1, f(2), Total, (x,y)
    rf"(?:\\(?!{FUNCTIONS})[A-Za-z]+|[A-Za-z]\w*)(?:_\{{?\w+\}}?)?(?:\([^()]*\))?|\([a-z](?:,[a-z])+\)"
)
CHOICE = re.compile(r"\(?([A-J])\)?")
CHOSEN = re.compile(
    r"(?:option |choice )?(?:\(([A-J])\)|([A-J]))(?=$|[.,:;)]|\s+(?:because|since|as|which)\b)|\(([A-J])\)",
    re.IGNORECASE,
)
ANOTHER_CHOSEN = re.compile(r"\W*(?:,|/|&|and\b|or\b)\W*(?:(?:and|or)\W*)?(?:[A-HJ]|I(?!\s[a-z]))(?![A-Za-z])")
SEVERAL = re.compile(r",|;|\b(?:and|or)\b")  # x = 2 or x = 3
IN_BASE = re.compile(r"([0-9A-Fa-f]+)_(?:\{\s*(\w+)\s*\}|(\d))")


def is_correct(text: str, gold: str) -> bool:
    """True if one reading of the final answer equals the right answer, or if each of its values does."""
    text, right = text.rpartition("</think>")[2], read_gold(gold)
    readings = find_final_answers(text, count_values(right))
    if not readings:
        whole = read_values(text.strip()) if len(text) < LONGEST_WHOLE and "\n" not in text.strip() else []
        return any(is_same_answer(value, right) for value in whole) or holds_expression(text, right)
    return any(
        is_same_answer(", ".join(values), right)
        or (len(values) > 1 and all(is_same_answer(one, right) for one in values))
        for values in readings
    )


def read_gold(gold: str) -> str:
    """Returns the right answer. A gold may be a whole solution; then its final answer is found as in a response."""
    readings = find_final_answers(gold)
    return ", ".join(readings[0]) if readings and any(readings[0]) else gold.strip()


def count_values(answer: str) -> int:
    return len(split_outside_brackets(normalise_spelling(answer).removeprefix("{").removesuffix("}"), ",;"))


def is_same_answer(answer: str, right: str) -> bool:
    if not answer.strip() or len(answer) > max(LONGEST_ANSWER, 2 * len(right)):
        return False
    if choice := CHOICE.fullmatch(normalise_spelling(right)):
        return find_choice(answer) == choice[1]
    return all(is_same_value(side, value) for side, value in pair_sides(answer, right))


def find_choice(answer: str) -> str | None:
    """The chosen letter; None if several letters are chosen."""
    answer = strip_math_signs(answer)
    chosen = CHOSEN.match(answer)
    if not chosen or ANOTHER_CHOSEN.match(answer, chosen.end()):
        return None
    return next(filter(None, chosen.groups())).upper()


def is_same_value(answer: str, right: str) -> bool:
    if is_spelled_alike(answer, right):
        return True
    if (same := is_same_in_base(answer, right)) is not None:
        return same
    if (same := compare_quantities(answer, right)) is not None:
        return same
    return is_same_expression(answer, right)


def is_same_in_base(answer: str, right: str) -> bool | None:
    """Compares numbers with a base: `101_2` equals `101_{2}`, and `101` without a base. None if neither names a base."""
    answer, right = (normalise_spelling(text) for text in (answer, right))
    found = [IN_BASE.fullmatch(text) for text in (answer, right)]
    if not any(found):
        return None
    digits = [match[1] if match else text for match, text in zip(found, (answer, right), strict=True)]
    bases = {match[2] or match[3] for match in found if match}
    return digits[0] == digits[1] and len(bases) == 1


def pair_sides(answer: str, right: str) -> list[tuple[str, str]]:
    """Pairs that must all be equal. If only one of the texts is an equation, its values are used: `2` for `x = 2`."""
    if ("=" in answer) == ("=" in right) or SEVERAL.search(answer):
        return [(answer, right)]
    if "=" in answer:
        return [(side, right) for side in find_values(answer) or [answer]]
    values = find_values(right)
    return [(answer, values[0] if len(values) == 1 else right)]


def find_values(equation: str) -> list[str]:
    """The sides of an equation that are not just a name; a text without an equals sign is returned whole."""
    sides = split_outside_brackets(equation, "=")
    return [side for side in sides if not NAME.fullmatch(normalise_spelling(side))] if len(sides) > 1 else [equation]


def split_outside_brackets(text: str, separators: str) -> list[str]:
    """Splits at separators outside brackets: the `=` in the bounds of a sum, `{n=1}`, does not split."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "{([") - (sign in "})]")
        if sign in separators and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        print(json.dumps({"correct": is_correct(asked["text"], asked["gold"])}), flush=True)


if __name__ == "__main__":
    main()
