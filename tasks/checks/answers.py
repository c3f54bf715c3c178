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
    r"(?:final |correct )?answer(?: is|:|\s*=)\s*:?\s*(.+)|(?:答案)(?:是|为|：|:)\s*(.+)", re.IGNORECASE
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
NAME = re.compile(r"\\?[A-Za-z]\w*(?:_\{?\w+\}?)?(?:\([^()]*\))?")  # x, x_1, f(2), Total


def correct(text: str, gold: str) -> bool:
    """Whether the final answer of a response is the right one."""
    right = final(gold) or gold.strip()
    said = final(text)
    if said is None:
        return equal(text, text, right)
    return all(equal(side, rf"\boxed{{{side}}}", right) for side in sides(said, right))


def sides(said: str, right: str) -> list[str]:
    """An equation, where a value is asked for, is right if it gives that value a name, or has it on all its sides."""
    if "=" not in said or "=" in right:
        return [said]
    named = [side for side in said.split("=") if not NAME.fullmatch(normalised(side))]
    return named or [said]


def equal(said: str, as_text: str, right: str) -> bool:
    if normalised(said) == normalised(right):
        return True
    value = expressions(rf"\boxed{{{right}}}")
    return bool(value) and verify(value, expressions(as_text), timeout_seconds=None)


def expressions(text: str) -> list:
    return parse(text, parsing_timeout=None)


def final(text: str) -> str | None:
    """What a text gives as its answer: the last box, else what stands behind ####, else behind the last "answer is"."""
    if (start := text.rfind(r"\boxed{")) >= 0:
        return inside_braces(text[start + 7 :])
    if "####" in text:
        return text.rpartition("####")[2].strip()
    if found := PHRASE.findall(text):
        return re.sub(r"\.\s.*|[.*\s]+$", "", "".join(found[-1]).strip().lstrip("*"))
    return None


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
