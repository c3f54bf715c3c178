"""Reads test cases of programs that read standard input and write standard output, in the layouts of CodeContests,
LiveCodeBench, LiveBench and APPS. Cases that call a function become asserts.

The rules of LiveCodeBench are those of `lcb_runner/evaluation/testing_util.py` at commit 28fef95: 6 seconds for each case, the
imports of PRELUDE before the program, and the comparison of `sandbox/comparing.py`. LiveBench's coding tasks use them too
(`livebench/process_results/coding/utils.py`), and may give the beginning of the program.
"""

import base64
import json
import pickletools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from tasks.checks.verdicts import ProgramTests

MOST_BYTES = 1 << 28  # size limit of unpacked tests
PICKLED_TEXT = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
PICKLE_FRAME = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "STOP"}
SECONDS_OF_LIVE_CODE_BENCH = 6
STARRED = "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys"
PRELUDE = "\n".join(  # LiveCodeBench's problems use names such as `List` without an import
    [f"from {name} import *" for name in (*STARRED.split(), "json", "builtins", "typing")]
    + [f"import {name}" for name in (*STARRED.split(), "json")]
    + ["sys.setrecursionlimit(50_000)"]
)


@dataclass(frozen=True)
class Cases:
    """`rule` names the comparison of outputs that the set's authors use. `seconds` and `memory_megabytes` are for each case;
    0: the recipe's limits. `setup` runs before the program. If there is a `beginning`, the response continues it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rule: str  # lines | tokens | close
    seconds: float = 0
    memory_megabytes: int = 0
    setup: str = ""
    beginning: str = ""


def read_cases(gold: Any) -> Cases | ProgramTests | None:
    """Returns cases, or tests that call a function, or None for an unknown layout. ValueError if a known layout is broken."""
    match gold:
        case {"inputs": inputs, "outputs": outputs, "fn_name": None}:  # APPS omits fn_name where there is no function
            return by_rules_of_live_code_bench(inputs, outputs, None)
        case {"inputs": [str(), *_] as inputs, "outputs": outputs, "fn_name": str(function)}:
            return by_rules_of_live_code_bench(inputs, outputs, function)
        case {"inputs": inputs, "outputs": outputs}:
            return read_lists(inputs, outputs, gold.get("fn_name"), "close")
        case {"public_test_cases": _} | {"private_test_cases": _}:
            return read_live_code_bench(gold)
        case {"public_tests": _} | {"private_tests": _} | {"generated_tests": _}:
            return read_code_contests(gold)
        case {"input": inputs, "output": outputs}:
            return read_lists(inputs, outputs, None, "tokens")
        case [{"input": _, "output": _}, *_]:
            return read_listed(gold, None)
    return None


def read_lists(
    inputs: Any, outputs: Any, function: Any, rule: str, seconds: float = 0, memory_megabytes: int = 0
) -> Cases | ProgramTests:
    check_lists(inputs, outputs)
    if function:
        return ProgramTests(write_asserts(str(function), inputs, outputs), str(function))
    texts = [tuple(join_lines(one) for one in some) for some in (inputs, outputs)]
    return Cases(texts[0], texts[1], rule, seconds, memory_megabytes)


def check_lists(inputs: Any, outputs: Any) -> None:
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or not inputs:
        raise ValueError("gold: inputs and outputs are not two lists of the same length, with at least one case")


def by_rules_of_live_code_bench(inputs: Any, outputs: Any, function: str | None) -> Cases | ProgramTests:
    each = SECONDS_OF_LIVE_CODE_BENCH
    if not function:
        return replace(cast(Cases, read_lists(inputs, outputs, None, "lines", seconds=each)), setup=PRELUDE)
    check_lists(inputs, outputs)
    given = [[json.loads(line) for line in str(one).split("\n") if line] for one in inputs]
    wanted = [json.loads(one) for one in outputs]
    tests = write_asserts(function, given, wanted, deep=False)
    whole = (each + 1) * len(inputs) + 5
    return ProgramTests(tests, function, setup=PRELUDE, seconds=whole, seconds_per_call=each)


def join_lines(one: Any) -> str:
    """Returns the text; APPS stores some texts as lists of lines."""
    if isinstance(one, list) and all(isinstance(line, str) for line in one):
        return "\n".join(one)
    if not isinstance(one, str):
        raise ValueError(f"gold: a case is not text: {one!r:.80}")
    return one


def write_asserts(function: str, inputs: list, outputs: list, deep: bool = True) -> str:
    """Writes one assert per case. A returned tuple equals a list: in APPS also inside (`deep`), where some expected values are
    wrapped in a list; in LiveCodeBench not."""
    if not function.isidentifier():
        raise ValueError(f"gold.fn_name: not a name of a function: {function!r:.80}")
    inner = "list(map(as_lists, value))" if deep else "list(value)"
    kinds = "(list, tuple)" if deep else "tuple"
    lines = ["def as_lists(value):", f"    return {inner} if isinstance(value, {kinds}) else value"]
    for given, expected in zip(inputs, outputs, strict=True):
        wrapped = deep and isinstance(expected, list) and len(expected) == 1
        either = f"in ({expected!r}, {expected[0]!r})" if wrapped else f"== {expected!r}"
        lines.append(f"assert as_lists({function}(*{given!r})) {either}")
    return "\n".join(lines)


def read_live_code_bench(gold: dict) -> Cases | ProgramTests:
    """In LiveBench, `partial_solution` is the beginning of the program."""
    listed: list = []
    for name in ("public_test_cases", "private_test_cases"):
        part = gold.get(name) or []
        listed += part if isinstance(part, list) else unpack(part)
    metadata = gold.get("metadata") or {}
    metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    return replace(read_listed(listed, metadata.get("func_name")), beginning=gold.get("partial_solution") or "")


def read_listed(listed: Sequence[Any], function: str | None) -> Cases | ProgramTests:
    if not all(isinstance(one, dict) and {"input", "output"} <= one.keys() for one in listed):
        raise ValueError("gold: a test case is not an object with input and output")
    if any(one.get("testtype") == "functional" for one in listed) and not function:
        raise ValueError("gold.metadata.func_name: is missing, and the cases call a function")
    return by_rules_of_live_code_bench([one["input"] for one in listed], [one["output"] for one in listed], function)


def unpack(text: str) -> list:
    """Reads LiveCodeBench's private cases: JSON, or a JSON text that is pickled, compressed and in base64."""
    try:
        return json.loads(text)
    except ValueError:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
        if unpacking.unconsumed_tail:
            raise ValueError(f"gold: test cases of more than {MOST_BYTES:,} bytes") from None
        return json.loads(read_pickled_text(content))


def read_pickled_text(content: bytes) -> str:
    """Reads the one text in a pickle without unpickling: a pickle from a data set could run any code."""
    steps = [(step.name, argument) for step, argument, _ in pickletools.genops(content)]
    texts = [str(argument) for name, argument in steps if name in PICKLED_TEXT]
    others = sorted({name for name, _ in steps} - PICKLED_TEXT - PICKLE_FRAME)
    if others or len(texts) != 1:
        raise ValueError(f"gold: test cases as a pickle that holds more than one text: {others}")
    return texts[0]


def read_code_contests(gold: dict) -> Cases | ProgramTests:
    inputs, outputs = [], []
    for name in ("public_tests", "private_tests", "generated_tests"):
        part = gold.get(name) or {"input": [], "output": []}
        inputs += part["input"]
        outputs += part["output"]
    if gold.get("input_file") or gold.get("output_file"):
        raise ValueError("gold: its programs read or write files, which the sandbox does not allow")
    limit = gold.get("time_limit") or 0
    seconds = limit.get("seconds", 0) + limit.get("nanos", 0) / 1e9 if isinstance(limit, dict) else float(limit)
    megabytes = int(gold.get("memory_limit_bytes") or 0) >> 20
    return read_lists(inputs, outputs, None, "tokens", seconds=seconds, memory_megabytes=megabytes)
