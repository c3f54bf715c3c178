"""EvalPlus (arXiv 2305.01210): HumanEval+ and MBPP+ in the files of its releases, as prompts with tests as gold.

The files hold inputs and a right solution, but no expected outputs. The tests compute these with the solution, in the process
that the response cannot see. The rules of comparison and the types of MBPP's inputs are those of `evalplus/eval/__init__.py`,
`evalplus/eval/_special_oracle.py` and `evalplus/data/mbpp.py` in evalplus/evalplus. numpy is not needed.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from infra.errors import BadInput
from tasks.evaluation.benchmarks.coding_files import identify_files
from tasks.stage import Exact

INSTRUCTION = (
    "Write the Python function that this code describes. Put the whole program into one ```python block.\n\n"
    "```python\n{prompt}\n```"
)
TUPLES = {  # JSON has no tuples, sets or complex numbers: how an input of these MBPP tasks is restored
    "[tuple(one) for one in given]": "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809",
    "[[tuple(one) for one in some] for some in given]": "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780",
    "[[tuple(one) for one in given[0]], given[1]]": "75 413 444 753",
    "[given[0], tuple(given[1])]": "106 750",
    "[[set(one) if isinstance(one, list) and one else {} for one in given[0]]]": "115",
    "(float(given[0]), complex(given[1]))": "124",
    "[tuple(given[0]), *given[1:]]": "250 307 405 446 617 720 763 808",
    "[tuple(tuple(one) for one in some) for some in given]": "259 401 445",
    "[tuple(tuple(one) if isinstance(one, list) else one for one in given[0])]": "278",
    "[{key: tuple(value) for key, value in given[0].items()}, *given[1:]]": "722",
    "[complex(given[0])]": "252",
    "[_to_tuples(one) for one in given]": "580 615 791",
}
RESTORED = {f"Mbpp/{task}": code for code, tasks in TUPLES.items() for task in tasks.split()}
SAME_SET = "similar_elements find_char_long common_in_nested_lists extract_singly larg_nnum intersection_array"
SAME_SET += " find_dissimilar Diff"
RULES = {  # entry point -> when its output is right, in addition to equality
    **dict.fromkeys(SAME_SET.split(), "set(found) == set(expected)"),
    **dict.fromkeys(
        ("check_str", "text_match_three", "text_starta_endb"),
        "(found if isinstance(found, bool) else found is not None) == (expected is not None)",
    ),
    "are_equivalent": "True",
    "sum_div": "found == expected or found == 0",
    "surface_Area": "found == expected or abs(found - _measure_pyramid(*given)) <= tolerance",
    "digit_distance_nums": "found == expected or found == _add_digit_distances(*given)",
    "find_zero": "abs(sum(factor * found**power for power, factor in enumerate(given[0]))) <= tolerance",
}
TESTS = """
import copy
import json
import math

_reference = {{}}
exec({solution!r}, _reference)


def _to_tuples(value):
    return tuple(map(_to_tuples, value)) if isinstance(value, list) else value


def _measure_pyramid(edge, height):
    return round(edge**2 + 2 * edge * math.sqrt((edge / 2) ** 2 + height**2))


def _add_digit_distances(one, other):
    size = max(len(str(one)), len(str(other)))
    return sum(abs(int(a) - int(b)) for a, b in zip(str(one).zfill(size), str(other).zfill(size)))


def _are_floats(value):
    if isinstance(value, (list, tuple)) and value:
        return all([isinstance(one, float) for one in value])
    return isinstance(value, float)


def _is_close(one, other, tolerance):
    if isinstance(other, (list, tuple)):
        return len(one) == len(other) and not [1 for a, b in zip(one, other) if not _is_close(a, b, tolerance)]
    return one == other or abs(one - other) <= tolerance + 1e-7 * abs(other)


def _is_right(given, found, expected):
    tolerance = {tolerance!r}
    if {rule}:
        return True
    if {is_strict}:
        return False
    tolerance = tolerance or (1e-6 if _are_floats(expected) else 0)
    return tolerance > 0 and type(found) is type(expected) and _is_close(found, expected, tolerance)


for given in json.loads({inputs!r}):
    given = {restored}
    _expected = _reference[{entry_point!r}](*copy.deepcopy(given))
    assert _is_right(given, {entry_point}(*copy.deepcopy(given)), _expected)
"""


class EvalPlus(Exact):
    """HumanEval+ or MBPP+, in a file of an EvalPlus release."""

    suite: Literal["evalplus"]
    path: str = Field(description="HumanEvalPlus-v0.1.10.jsonl, MbppPlus-v0.2.0.jsonl or another release, unpacked")
    tests: Literal["plus", "base"] = Field(default="plus", description="base: only the original tests")
    instruction: str = Field(default=INSTRUCTION, description="the prompt; {prompt} is replaced by the task's prompt")

    def resolve(self, field: str) -> dict:
        file = Path(self.path)
        if not file.is_file():
            raise BadInput(
                f"{field}.path: evalplus needs a file of an EvalPlus release, and {self.path!r} is not a file"
            )
        return identify_files(file.parent, [file], self.suite, tests=self.tests, instruction=self.instruction)


def read_eval_plus(rows: Iterable[dict], options: dict[str, str]) -> Iterator[dict]:
    for row in rows:
        user = {"role": "user", "content": options["instruction"].replace("{prompt}", row["prompt"].strip())}
        yield {"messages": [user], "category": "suite", "gold": json.dumps(make_gold(row, options["tests"] == "plus"))}


def make_gold(row: dict, with_plus: bool) -> dict[str, str]:
    """The tests of a task. In HumanEval the prompt is the beginning of the solution, and may define helpers."""
    inputs = [*row["base_input"], *(row["plus_input"] if with_plus else [])]  # one task of MBPP+ has {} for no input
    is_continued = f"def {row['entry_point']}" in row["prompt"]
    tests = TESTS.format(
        solution=(row["prompt"] if is_continued else "") + row["canonical_solution"],
        inputs=json.dumps(inputs),
        entry_point=row["entry_point"],
        tolerance=row["atol"],
        rule=RULES.get(row["entry_point"], "found == expected"),
        is_strict=row["entry_point"] in RULES,
        restored=RESTORED.get(row["task_id"], "given"),
    )
    return {"tests": tests, "entry_point": row["entry_point"], "setup": row["prompt"] if is_continued else ""}
