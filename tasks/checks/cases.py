"""Reads test cases of programs that read standard input and write standard output, in the layouts of CodeContests,
LiveCodeBench and APPS. Cases that call a function become asserts."""

import base64
import json
import pickletools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 1 << 28  # size limit of unpacked tests
PICKLED_TEXT = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
PICKLE_FRAME = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "STOP"}


@dataclass(frozen=True)
class Cases:
    """`rule` names the comparison of outputs that the set's authors use. `seconds` and `memory_megabytes` hold for each case;
    0: the recipe's limits."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rule: str  # lines | tokens | close
    seconds: float = 0
    memory_megabytes: int = 0


def read_cases(gold: Any) -> Cases | str | None:
    """Returns cases, or asserts that call a function, or None for an unknown layout. ValueError if a known layout is broken."""
    match gold:
        case {"inputs": inputs, "outputs": outputs}:
            rule = "lines" if "fn_name" in gold else "close"  # only LiveCodeBench always has fn_name
            return read_lists(inputs, outputs, gold.get("fn_name"), rule)
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
) -> Cases | str:
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or not inputs:
        raise ValueError("gold: inputs and outputs are not two lists of the same length, with a case or more")
    if function:
        return write_asserts(str(function), inputs, outputs)
    texts = [[join_lines(one) for one in some] for some in (inputs, outputs)]
    return Cases(tuple(texts[0]), tuple(texts[1]), rule, seconds, memory_megabytes)


def join_lines(one: Any) -> str:
    """Returns the text; APPS stores some texts as lists of lines."""
    if isinstance(one, list) and all(isinstance(line, str) for line in one):
        return "\n".join(one)
    if not isinstance(one, str):
        raise ValueError(f"gold: a case that is no text: {one!r:.80}")
    return one


def write_asserts(function: str, inputs: list, outputs: list) -> str:
    """Writes one assert per case. As in APPS and LiveCodeBench, tuples equal lists. APPS wraps some expected values in a list."""
    if not function.isidentifier():
        raise ValueError(f"gold.fn_name: no name of a function: {function!r:.80}")
    lines = [
        "def as_lists(value):",
        "    if isinstance(value, (list, tuple)):",
        "        return list(map(as_lists, value))",
    ]
    lines += ["    return value"]
    for given, wanted in zip(inputs, outputs, strict=True):
        arguments = given if isinstance(given, list) else [json.loads(line) for line in str(given).splitlines() if line]
        expected = json.loads(wanted) if isinstance(wanted, str) and not isinstance(given, list) else wanted
        either = f"in ({expected!r}, {expected[0]!r})" if is_wrapped(expected, given) else f"== {expected!r}"
        lines.append(f"assert as_lists({function}(*{arguments!r})) {either}")
    return "\n".join(lines)


def is_wrapped(expected: Any, given: Any) -> bool:
    return isinstance(given, list) and isinstance(expected, list) and len(expected) == 1


def read_live_code_bench(gold: dict) -> Cases | str:
    listed: list = []
    for name in ("public_test_cases", "private_test_cases"):
        part = gold.get(name) or []
        listed += part if isinstance(part, list) else unpack(part)
    metadata = gold.get("metadata") or {}
    metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    return read_listed(listed, metadata.get("func_name"))


def read_listed(listed: Sequence[Any], function: str | None) -> Cases | str:
    if not all(isinstance(one, dict) and {"input", "output"} <= one.keys() for one in listed):
        raise ValueError("gold: test cases that are no objects with input and output")
    if any(one.get("testtype") == "functional" for one in listed) and not function:
        raise ValueError("gold.metadata.func_name: is missing, and the cases call a function")
    return read_lists([one["input"] for one in listed], [one["output"] for one in listed], function, "lines")


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


def read_code_contests(gold: dict) -> Cases | str:
    inputs, outputs = [], []
    for name in ("public_tests", "private_tests", "generated_tests"):
        part = gold.get(name) or {"input": [], "output": []}
        inputs += part["input"]
        outputs += part["output"]
    if gold.get("input_file") or gold.get("output_file"):
        raise ValueError("gold: its programs read or write files, which the sandbox has not")
    limit = gold.get("time_limit") or 0
    seconds = limit.get("seconds", 0) + limit.get("nanos", 0) / 1e9 if isinstance(limit, dict) else float(limit)
    megabytes = int(gold.get("memory_limit_bytes") or 0) >> 20
    return read_lists(inputs, outputs, None, "tokens", seconds=seconds, memory_megabytes=megabytes)
