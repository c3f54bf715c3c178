"""Rows of other people's data sets become prompts: the right columns, the exact text, bad rows by their number."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import BadInput
from tasks.prompts.columns import Columns, read_prompt
from tasks.prompts.reading import read_prompts
from tasks.records import prompt_id

ODD = "  two\r\nlines\r and\u2028more \ttab\n\n  \U0001f469\u200d\U0001f52c e\u0301 \u00e9 \ufeff\u202e ｆｕｌｌ 你好\n"


def user(text):
    return [{"role": "user", "content": text}]


def talk(*roles):
    return json.dumps({"messages": [{"role": role, "content": "x"} for role in roles]})


def prompts(file, **columns):
    return [found for _, found, _ in read_prompts([file], Columns(**columns))]


@pytest.mark.parametrize("kind", ["jsonl", "escaped", "parquet"])
def test_text_comes_through_exactly(tmp_path, kind):
    file = tmp_path / f"prompts.{'parquet' if kind == 'parquet' else 'jsonl'}"
    if kind == "parquet":
        pq.write_table(pa.table({"prompt": [ODD], "gold": [ODD]}), file)
    else:
        row = json.dumps({"prompt": ODD, "gold": ODD}, ensure_ascii=kind == "escaped")
        file.write_bytes(b"\n" + row.encode() + b"\r\n\n")
    (found,) = prompts(file)
    assert found["messages"] == user(ODD) and found["gold"] == ODD
    assert found["prompt_id"] == prompt_id(user(ODD))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "a\\u0000b"}', "row 2: prompt: character 1 is a NUL"),
        ('{"prompt": "ab\\ud800c"}', "row 2: prompt: character 2 is half of a surrogate pair"),
        ('{"prompt": "fine", "gold": "\\udfff"}', "row 2: gold: character 0 is half of a surrogate pair"),
        ('{"prompt": " \\n"}', "row 2: the last message must be a user turn with some text"),
        ('{"prompt": 5}', "row 2: prompt: invalid value 5"),
        ('{"question": "a"}', "row 2: has neither a prompt nor messages"),
        ('{"messages": [{"role": "tool", "content": "x"}]}', "row 2: messages: invalid value"),
        ('{"messages": [{"role": "user", "content": "x", "name": "y"}]}', "row 2: messages: invalid value"),
        ('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}', "row 2: the last"),
        ('["a"]', "row 2: is list, not an object"),
        ('{"prompt": "a"', "row 2: not JSON"),
        (b'{"prompt": "\xff"}', "row 2: not JSON"),
        ('{"prompt": ' + "9" * 5000 + "}", "row 2: not JSON"),
        ("[" * 200_000, "row 2: not JSON: nested too deeply"),
        ('{"messages": [{"role": ["user"], "content": "x"}]}', "row 2: messages: invalid value"),
        ('{"messages": [{"from": {}, "value": "x"}]}', "row 2: messages: invalid value"),
        (talk("user", "user"), "row 2: messages: turn 2 of user, user is out of order"),
        (talk("assistant", "user"), "row 2: messages: turn 1 of assistant, user is out of order"),
        (talk("user", "system", "user"), "turn 2 of user, system, user is out of order"),
        (talk("system", "system", "user"), "turn 2 of system, system, user is out of order"),
    ],
)
def test_a_bad_row_is_refused_with_its_number(tmp_path, row, message):
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(b'{"prompt": "good"}\n' + (row if isinstance(row, bytes) else row.encode()))
    with pytest.raises(BadInput, match=message) as problem:
        prompts(file)
    assert "\n" not in str(problem.value)
    problem.value.args[0].encode()  # can be printed


def test_bad_rows_can_be_dropped_and_keep_their_number(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": ""}\n{"prompt": "good"}\n{"prompt": "\\u0000"}\n')
    found = list(read_prompts([file], Columns(), drop_bad=True))
    assert [(row, bool(prompt), bool(problem)) for row, prompt, problem in found] == [
        (1, False, True),
        (2, True, False),
        (3, False, True),
    ]


def test_rows_are_numbered_as_the_lines_of_the_file_are(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('\n{"prompt": "good"}\n\n\nnot JSON\n{"prompt": "also"}\n')
    found = list(read_prompts([file], Columns(), drop_bad=True))
    assert [(row, bool(prompt)) for row, prompt, _ in found] == [(2, True), (5, False), (6, True)]


def test_a_complaint_shows_the_place_and_not_the_beginning(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": "a" * 200 + "here\0it is"}))
    with pytest.raises(BadInput, match=r"character 204 is a NUL: 'a+here\\x00it is'"):
        prompts(file)


def test_gzipped_lines_are_read_and_other_endings_refused(tmp_path):
    zipped = tmp_path / "prompts.JSONL.gz"
    zipped.write_bytes(gzip.compress(b'{"prompt": "a"}\n{"prompt": "b"}\n'))
    assert [found["messages"] for found in prompts(zipped)] == [user("a"), user("b")]
    zipped.write_bytes(zipped.read_bytes()[:-12])
    with pytest.raises(BadInput, match="not a complete gzip file"):
        prompts(zipped)
    (tmp_path / "prompts.csv").write_text("prompt\na\n")
    with pytest.raises(BadInput, match=r"prompts.csv: the name must end in .parquet, .jsonl"):
        prompts(tmp_path / "prompts.csv")


def test_a_parquet_text_that_is_no_utf8_is_one_bad_row(tmp_path):
    file = tmp_path / "prompts.parquet"
    texts = pa.array([b"one", b"\xed\xa0\x80", b"three"]).view(pa.string())
    pq.write_table(pa.table({"prompt": texts}), file)
    found = list(read_prompts([file], Columns(), drop_bad=True))
    assert [(row, bool(prompt)) for row, prompt, _ in found] == [(1, True), (2, False), (3, True)]
    with pytest.raises(BadInput, match="row 2: prompt: not UTF-8"):
        prompts(file)


def test_a_damaged_parquet_file_is_named(tmp_path):
    file = tmp_path / "prompts.PARQUET"
    pq.write_table(pa.table({"prompt": ["a" * 5000, "b"]}), file, compression="zstd")
    data = bytearray(file.read_bytes())
    data[4:40] = bytes(36)
    file.write_bytes(data)
    with pytest.raises(BadInput, match="not a complete Parquet file"):
        prompts(file)


def test_a_missing_column_is_told_with_all_that_are_there(tmp_path):
    file = tmp_path / "prompts.parquet"
    pq.write_table(pa.table({"q": ["a"], "gold": ["b"], "other": ["c"]}), file)
    with pytest.raises(BadInput, match=r"no column 'question'; the columns are 'q', 'gold', 'other'"):
        prompts(file, prompt="question")


def test_a_column_that_is_named_must_be_there():
    with pytest.raises(ValueError, match=r"prompt: there is no column 'question'; the columns are 'prompt'"):
        read_prompt({"prompt": "a"}, Columns(prompt="question"))


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Two?"},
]
ANSWER = {"role": "assistant", "content": "No."}
SHAREGPT = [
    {"from": {"user": "human", "assistant": "gpt", "system": "system"}[one["role"]], "value": one["content"]}
    for one in (*TALK, ANSWER)
]


@pytest.mark.parametrize(
    ("row", "columns", "messages", "response"),
    [
        ({"q": "a"}, {"prompt": "q"}, user("a"), None),
        ({"q": "a", "messages": user("b")}, {"prompt": "q"}, user("a"), None),
        ({"prompt": "a", "chat": TALK}, {"messages": "chat"}, TALK, None),
        ({"chat": [*TALK, ANSWER]}, {"messages": "chat", "answered": "cut"}, TALK, "No."),
        ({"chat": SHAREGPT}, {"messages": "chat", "answered": "cut"}, TALK, "No."),
        ({"chat": SHAREGPT}, {"messages": "chat", "turns": "first"}, TALK[:2], "Yes."),
        ({"a": "do", "b": "this"}, {"prompt": ["a", "b"]}, user("do\nthis"), None),
        ({"a": "do", "b": ""}, {"prompt": ["a", "b"]}, user("do"), None),
        ({"prompt": "a", "best": "b"}, {"response": "best"}, user("a"), "b"),
        ({"prompt": "a", "chosen": [*user("a"), ANSWER]}, {"response": "chosen"}, user("a"), "No."),
        (
            {"prompt": "One?\n<extra_id_1>Assistant\nYes.\n<extra_id_1>User\nTwo?"},
            {"marks": "extra-id"},
            TALK[1:],
            None,
        ),
    ],
)
def test_columns_are_mapped(row, columns, messages, response):
    found = read_prompt(row, Columns(**columns))
    assert (found["messages"], found["response"]) == (messages, response)


def test_turns_and_answers_come_through_exactly():
    row = {"chat": [{"from": "human", "value": ODD}, {"from": "gpt", "value": ODD}]}
    found = read_prompt(row, Columns(messages="chat", answered="cut"))
    assert found["messages"] == user(ODD) and found["response"] == ODD


def test_gold_is_text_as_it_is_or_json():
    tests = ["assert f(1) == 2", "assert f('é')"]
    assert read_prompt({"prompt": "a", "gold": "1/2"}, Columns())["gold"] == "1/2"
    assert json.loads(read_prompt({"prompt": "a", "t": tests}, Columns(gold="t"))["gold"]) == tests
    assert read_prompt({"prompt": "a"}, Columns())["gold"] is None


def test_the_rows_category_comes_before_the_sets():
    assert read_prompt({"prompt": "a", "category": "x"}, Columns(), "y")["category"] == "x"
    assert read_prompt({"prompt": "a", "category": None}, Columns(), "y")["category"] == "y"
