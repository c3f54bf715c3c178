"""Program: whether answers equal the right ones. Says that it is ready; for each line {text, gold} writes a line {correct}.

Equal is what is the same once spelling is set aside, or what math-verify finds equal: each knows what the other misses
(prose and matrices; values). It may hang or grow on some inputs: whoever started it keeps the time and ends it.
"""

import json
import re
import resource
import sys

from math_verify import parse, verify

MEMORY = 4 << 30
PHRASE = re.compile(
    r"(?:final |correct )?(?:answer|option|choice)(?: is|:|\s*=)\s*:?\s*(.+)|(?:答案)(?:是|为|：|:)\s*(.+)",
    re.IGNORECASE,
)
SPELLING = (  # what says nothing about the value
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\frac(\d)(\d)", r"\\frac{\1}{\2}"),
    (r"\\(?:left|right|displaystyle|mathrm|,|!|;|:|quad)|~|\\ ", ""),
    (r"\\(?:text|textbf|mbox|mathbf|operatorname)\{([^{}]*)\}", r"\1"),
    (r"\\[()\[\]]|\$|\*\*|`", ""),
    (r"\\([%{}])", r"\1"),
    (r"(?<=\d),(?=\d{3}(?!\d))", ""),
    (r"(?<!\d)\s+|\s+(?!\d)", ""),
    (r"[.。]$", ""),
    (r"^\(([A-Za-z])\)$", r"\1"),
)
FUNCTIONS = "log|ln|exp|sin|cos|tan|cot|sec|csc|arc|sinh|pi|max|min|lim|sqrt|frac|sum|prod|int|gcd|det|binom"
NAME = re.compile(rf"(?:\\(?!{FUNCTIONS})[A-Za-z]+|[A-Za-z]\w*)(?:_\{{?\w+\}}?)?(?:\([^()]*\))?")  # x, x_1, f(2), Total
NUMBER = r"[-−]?(?:\d[\d,]*\.?\d*|\.\d+)"
WITH_UNIT = re.compile(
    rf"(?:\\?[$€£]\s*)?({NUMBER})\s*(?:\\?%|((?!(?:or|and|to|times|plus)\b)[A-Za-z][A-Za-z /.²³]*))?"
)
CHOICE = re.compile(
    r"(?:option |choice )?(?:\(([A-J])\)|([A-J]))(?=$|[.,:;)]|\s+(?:because|since|as|which)\b)|\(([A-J])\)", re.I
)
NAMES = re.compile(  # letters of mathematics: alone, or side by side as factors; ℝ is none
    r"(?<![\\A-Za-z])(?<!\\mathbb\{)(?<!\\mathbb )[A-Za-z]{1,3}(?![A-Za-z])"
)
AFTERTHOUGHT = re.compile(r"(?:,|\s\(|\s(?:because|since|which|as)\b).*", re.DOTALL)
BOX = re.compile(r"\\boxed\s*\{")


def correct(text: str, gold: str) -> bool:
    """Whether the final answer of a response is the right one."""
    right = final(gold) or gold.strip()
    said = final(text)
    if said is None:
        return equal(text, text, right)
    if re.fullmatch(r"\(?[A-J]\)?", right):
        chosen = CHOICE.match(normalised(said) if said.startswith("\\") else said)
        return bool(chosen) and next(filter(None, chosen.groups())).upper() == right.strip("()")
    if (same := same_quantity(said, right)) is not None:
        return same
    return all(equal(side, rf"\boxed{{{side}}}", right) for side in sides(said, right))


def sides(said: str, right: str) -> list[str]:
    """An equation, where a value is asked for, is right if it gives that value a name, or has it on all its sides."""
    if "=" not in said or "=" in right:
        return [said]
    parts = split_outside_braces(said)
    named = [side for side in parts if not NAME.fullmatch(normalised(side))] if len(parts) > 1 else []
    return named or [said]


def split_outside_braces(said: str) -> list[str]:
    """At every "=" that is no part of something else, as in a sum from n = 1."""
    parts, depth = [""], 0
    for sign in said:
        depth += (sign in "{(") - (sign in "})")
        if sign == "=" and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def same_quantity(said: str, right: str) -> bool | None:
    """Whether numbers with units are the same, a unit being left out on one side or not; None where they are no such."""
    ours, theirs = (WITH_UNIT.fullmatch(plain(text)) for text in (said, right))
    if not ours or not theirs or "%" in said + right:
        return None
    if not ours[2] and not theirs[2]:
        return None  # bare numbers: compared as all values are
    units = {unit.strip(" .").lower().rstrip("s") for unit in (ours[2], theirs[2]) if unit}
    value = lambda found: float(found[1].replace(",", "").replace("−", "-"))
    return len(units) == 1 and value(ours) == value(theirs)


def plain(text: str) -> str:
    """Without signs of mathematics around a value, and without what stands behind it only to explain it."""
    text = re.sub(r"\\(?:text|textbf|mbox|mathrm)\{([^{}]*)\}", r" \1", text)
    text = re.sub(r"\$([^$]*)\$", r"\1", text.strip())
    return re.sub(r"\s+", " ", text).strip().rstrip(".")


def equal(said: str, as_text: str, right: str) -> bool:
    if normalised(said) == normalised(right):
        return True
    as_text, right = cases_apart(as_text, right)
    value = expressions(rf"\boxed{{{right}}}")
    return bool(value) and verify(value, expressions(as_text), timeout_seconds=None)


def cases_apart(*texts: str) -> list[str]:
    """math-verify takes X for x, which forgives a careless hand. Where one text has a letter in both cases they are two things,
    or R - r would be 0: the large one becomes a letter that nobody uses, and that is no unit, which math-verify would drop."""
    found = [[set(name) for name in NAMES.findall(text)] for text in texts]
    alone = [set().union(*(name for name in names if len(name) == 1 or in_both_cases(name))) for names in found]
    both = set().union(*map(in_both_cases, alone))
    taken = [{letter.lower() for letter in set().union(*some)} for some in (alone, *found)]
    free = sorted(set("abfjknpqruvwxyz") - taken[0], key=lambda one: (any(one in some for some in taken), one))
    other = str.maketrans(dict(zip(sorted(both), free, strict=False)))
    return [NAMES.sub(lambda name: name[0].translate(other), text) for text in texts]


def in_both_cases(letters: set[str]) -> set[str]:
    return {letter for letter in letters if letter.isupper() and letter.lower() in letters}


def expressions(text: str) -> list:
    return parse(text, parsing_timeout=None)


def final(text: str) -> str | None:
    """What a text gives as its answer: the last box, else what stands behind ####, else behind the last "answer is"."""
    if boxes := list(BOX.finditer(text)):
        return inside_braces(text[boxes[-1].end() :])
    if "####" in text:
        return without_afterthought(text.rpartition("####")[2].strip())
    if found := PHRASE.findall(text):
        return without_afterthought(re.sub(r"\.\s.*|[.*\s]+$", "", "".join(found[-1]).strip().lstrip("*")))
    return None


def without_afterthought(said: str) -> str:
    """`18, so she sold 3` is 18; a comma inside of a number, an interval or a list of values stays."""
    before = AFTERTHOUGHT.sub("", said, count=1)
    behind = said[len(before) :]
    whole = WITH_UNIT.fullmatch(plain(before)) or re.fullmatch(r"\$[^$]+\$", before.strip())
    return before if whole and re.match(r",?\s*\(?\s*[A-Za-z]", behind) else said


def inside_braces(text: str) -> str | None:
    depth = 1
    for place, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if not depth:
            return text[:place].strip()
    return None


def normalised(text: str) -> str:
    for pattern, plain in SPELLING:
        text = re.sub(pattern, plain, text.strip())
    return text


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        print(json.dumps({"correct": correct(asked["text"], asked["gold"])}), flush=True)


if __name__ == "__main__":
    main()
