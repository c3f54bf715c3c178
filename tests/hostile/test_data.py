"""Files of prompts that are wrong, or made to do harm: the plan refuses them by their first row, the selection by any."""

import gzip
import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hostile.said import refused

GOOD = b'{"prompt": "What is it?"}\n'
DEEP = b"[" * 100_000 + b"]" * 100_000
LINES = {
    "nothing": (b"", "there are no prompts in"),
    "empty lines": (b"\n \n\t\n", "there are no prompts in"),
    "no JSON": (b"prompt: hello\n", "row 1: not JSON"),
    "half of a line": (GOOD[:-5], "row 1: not JSON"),
    "latin-1": ('{"prompt": "caf\xe9"}\n'.encode("latin-1"), "row 1: not JSON"),
    "utf-16": ('{"prompt": "x"}\n'.encode("utf-16"), "row 1: not JSON"),
    "a list": (b"[1, 2]\n", "row 1: is list"),
    "a text": (b'"prompt"\n', "row 1: is str"),
    "another column": (b'{"question": "x"}\n', "row 1: has neither a prompt"),
    "a number": (b'{"prompt": 7}\n', "row 1: prompt: invalid value 7"),
    "not a number": (b'{"prompt": NaN}\n', "row 1: prompt: invalid value nan"),
    "no text": (b'{"prompt": "  "}\n', "row 1: the last message"),
    "an unknown role": (b'{"messages": [{"role": "root", "content": "x"}]}\n', "row 1: messages: invalid value"),
    "an answer at the end": (b'{"messages": [{"role": "assistant", "content": "x"}]}\n', "row 1: the last message"),
    "messages in a text": (b'{"messages": "hello"}\n', "row 1: messages: invalid value"),
    "a tool call": (
        b'{"messages": [{"role": "user", "content": "x", "tool_calls": [1]}]}\n',
        "row 1: messages: invalid value",
    ),
    "a NUL": (b'{"prompt": "a\\u0000b"}\n', "row 1: prompt: character 1 is a NUL"),
    "half of a pair": (b'{"prompt": "a\\ud800b"}\n', "row 1: prompt: character 1 is half of a surrogate pair"),
    "lists in lists": (b'{"prompt": ' + DEEP + b"}\n", "row 1: not JSON"),
    "a library": (
        b'{"prompt": "' + b"a" * 10_000_001 + b'"}\n',
        "row 1: prompt: the text is too long (10,000,001 characters)",
    ),
    "a number of 5,000 digits": (b'{"prompt": "x", "gold": ' + b"9" * 5000 + b"}\n", "row 1: not JSON"),
    "a pickle": (b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x85\x94R\x94.", "row 1: not JSON"),
    "zipped": (gzip.compress(bytes(10_000_000)), "row 1: not JSON"),
}


def plan(capsys, file, *more: str) -> str:
    return refused(capsys, "plan", "demo", "--set", f"prompts={{kind='file', path='{file}'}}", *more)


@pytest.mark.parametrize("name", LINES)
def test_lines_that_are_no_prompts_are_refused_with_their_number(name, tmp_path, workplace, capsys):
    content, message = LINES[name]
    (tmp_path / "prompts.jsonl").write_bytes(content)
    assert message in plan(capsys, tmp_path / "prompts.jsonl")


TABLES = {
    "no rows": ({"prompt": pa.array([], pa.string())}, "there are no prompts in"),
    "numbers": ({"prompt": [1, 2]}, "row 1: prompt: invalid value 1"),
    "nulls": ({"prompt": pa.array([None], pa.string())}, "row 1: has neither a prompt"),
    "bytes": ({"prompt": [b"\xff\xfe"]}, "row 1: prompt: invalid value b"),
    "another column": ({"question": ["x"]}, "row 1: has neither a prompt"),
    "structs": ({"prompt": [{"a": 1}]}, "row 1: prompt: invalid value"),
    "lists": ({"messages": [["hello"]]}, "row 1: messages: invalid value"),
    "dates beyond the calendar": ({"prompt": ["x"], "gold": pa.array([2**62], pa.timestamp("us"))}, "out of range"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_hold_no_prompts_are_refused(name, tmp_path, workplace, capsys):
    columns, message = TABLES[name]
    pq.write_table(pa.table(columns), tmp_path / "prompts.parquet")
    assert message in plan(capsys, tmp_path / "prompts.parquet")


def damaged(file, name: str) -> None:
    pq.write_table(pa.table({"prompt": ["some text"] * 1000}), file)
    whole = file.read_bytes()
    changed = {
        "nothing": b"",
        "cut": whole[: len(whole) // 2],
        "lines": GOOD,
        "no foot": whole[:-8] + bytes(8),
        "a foot beyond measure": whole[:-8] + b"\xff\xff\xff\x7fPAR1",
        "another page": whole[:20] + bytes(b ^ 0x55 for b in whole[20:60]) + whole[60:],
    }
    file.write_bytes(changed[name])


@pytest.mark.parametrize("name", ["nothing", "cut", "lines", "no foot", "a foot beyond measure", "another page"])
def test_a_damaged_table_is_refused(name, tmp_path, workplace, capsys):
    damaged(tmp_path / "prompts.parquet", name)
    assert "prompts.parquet: not a complete Parquet file" in plan(capsys, tmp_path / "prompts.parquet")


def test_what_is_no_file_is_refused(tmp_path, workplace, capsys):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path, tmp_path / "loop", "/dev/zero", "/dev/stdin", "x" * 5000, "s3://", "gopher://x/y", "~/x"):
        assert "prompts" in plan(capsys, path)


def test_a_table_that_unpacks_to_gigabytes_is_refused(tmp_path, workplace, capsys):
    """One text of 20 MB in the dictionary, 4,000 rows that name it: 80 GB in a file of some KB."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), pa.array(["a" * 20_000_000]))
    pq.write_table(
        pa.table({"prompt": texts}), tmp_path / "bomb.parquet", compression="zstd", dictionary_pagesize_limit=2**30
    )
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    assert "bomb.parquet: prompt would unpack from " in plan(capsys, tmp_path / "bomb.parquet")


def test_a_line_without_end_is_refused(tmp_path, workplace, capsys):
    with (tmp_path / "long.jsonl").open("wb") as file:
        file.truncate(3 * 2**30)  # a hole: nothing is written
    assert "row 1: the line is longer than 67,108,864 bytes" in plan(capsys, tmp_path / "long.jsonl")


URLS = [
    "reference://x",
    "jupyter://x",
    "hf://datasets/a/b/c.jsonl",
    "zip://a::http://127.0.0.1:1/x",
    "dir::/etc",
    "data:,abc",
]
URLS += [
    "memory://x",
    "local:///etc/shadow",
    "cached::file:///etc/shadow",
    "github://a:b@main/x",
    "http://127.0.0.1:1/x",
]


@pytest.mark.parametrize("url", [*URLS, "s3://key:very-secret@bucket/x", "HTTPS://user:very-secret@127.0.0.1:1/x"])
def test_a_location_that_is_no_object_is_refused_without_password(url, workplace, capsys):
    said = plan(capsys, url)
    assert said.startswith("fuse: prompts.path: ") and "very-secret" not in said


BENCHMARKS = {"a number": {"text": 1}, "no column": {"other": "x"}, "an object": {"text": {"a": 1}}}


@pytest.mark.parametrize("name", ["no column"])
def test_a_benchmark_without_its_text_is_refused(name, tmp_path, workplace, capsys):
    (tmp_path / "prompts.jsonl").write_bytes(GOOD)
    (tmp_path / "benchmark.jsonl").write_text(json.dumps(BENCHMARKS[name]) + "\n")
    sets = f"sets=[{{name='a', source={{kind='file', path='{tmp_path}/prompts.jsonl'}}}}]"
    bench = f"decontamination={{benchmarks=[{{name='b', path='{tmp_path}/benchmark.jsonl', text='text'}}]}}"
    said = refused(capsys, "plan", "demo", "--set", f"prompts={{kind='sets', {sets}, {bench}}}")
    assert "prompts.decontamination.benchmarks.b" in said


def test_a_conversation_of_millions_of_turns_is_refused(tmp_path, workplace, capsys):
    """One row; its turns are all the same, so that neither packed nor unpacked they take more than a few bytes."""
    turns = 20_000_000
    said = pa.DictionaryArray.from_arrays(pa.array(np.zeros(turns, np.int32)), pa.array(["user"]))
    rows = pa.ListArray.from_arrays(
        pa.array([0, turns], pa.int32()), pa.StructArray.from_arrays([said, said], ["role", "content"])
    )
    pq.write_table(pa.table({"messages": rows}), tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    tracemalloc.start()
    said = plan(capsys, tmp_path / "bomb.parquet")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "bomb.parquet: messages.list.element" in said and "20,000,000 values in " in said
    assert peak < 2**28
