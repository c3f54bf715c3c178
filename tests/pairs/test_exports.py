"""Exports as their readers see them: TRL's own functions, LLaMA-Factory's documented demands, Hugging Face's loader."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from trl.data_utils import apply_chat_template, is_conversational

from flows.results.export import write_hub, write_llama_factory, write_trl
from tasks.pairs import exports
from tasks.records import PREFERENCE_RECORD, RESPONSE, SCORE, SFT_RECORD
from tests import tiny

NASTY = "tail \r\n\u2028\x0b\t  é😀 "
TALK = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
LONGER = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": NASTY}]
SFT = [
    {"prompt_id": "p", "messages": TALK, "response": NASTY, "source": "north", "score": 0.5}
    | {"finish_reason": "stop"},
    {"prompt_id": "q", "messages": LONGER, "response": "b", "source": "given", "score": None},
]
TRIPLE = {"source": "north", "source_best": NASTY, "own_best": "wt", "own_worst": "l"}
TRIPLE_SCORES = {"source_best_score": 0.9, "own_best_score": 0.5, "own_worst_score": 0.1}
TRIPLE_ENDS = {
    "source_best_finish_reason": "stop",
    "own_best_finish_reason": "stop",
    "own_worst_finish_reason": "length",
}
PAIRS = [
    {"prompt_id": "p", "messages": TALK, **TRIPLE, **TRIPLE_SCORES, **TRIPLE_ENDS},
    {"prompt_id": "q", "messages": LONGER, "source": "north", "worst_source": "north"}
    | {"source_best": "w", "source_worst": NASTY, "source_best_score": 0.6, "source_worst_score": 0.2},
    # a source's best that scores below the target's own worst: WRPO weighs it, as a pair it would say the opposite
    {"prompt_id": "r", "messages": TALK, **TRIPLE, **TRIPLE_SCORES, "source_best_score": 0.05},
]
EXPECTED = {
    "hybrid": [("p", NASTY, "l", 0.9, 0.1)],
    "on-policy": [("p", "wt", "l", 0.5, 0.1), ("r", "wt", "l", 0.5, 0.1)],
    "sources": [("q", "w", NASTY, 0.6, 0.2)],
}


@pytest.fixture
def tables():
    return pa.Table.from_pylist(SFT, SFT_RECORD), pa.Table.from_pylist(PAIRS, PREFERENCE_RECORD)


def test_trl_reads_every_row_and_every_character(tables, tmp_path):
    write_trl(tmp_path, *tables)
    load = lambda name: load_dataset(
        "parquet", data_files=str(tmp_path / f"{name}.parquet"), split="train", cache_dir=tmp_path
    )
    sft, kinds = load("sft"), {kind: load(f"preference-{kind}") for kind in EXPECTED}
    assert [(row["prompt"], row["completion"]) for row in sft] == [
        (one["messages"], [{"role": "assistant", "content": one["response"]}]) for one in SFT
    ]
    assert all(is_conversational(row) for rows in (sft, *kinds.values()) for row in rows)
    said = lambda text: [{"role": "assistant", "content": text}]
    for kind, preference in kinds.items():
        assert [
            (row["prompt_id"], row["chosen"], row["rejected"], row["score_chosen"], row["score_rejected"])
            for row in preference
        ] == [(prompt, said(chosen), said(rejected), *scores) for prompt, chosen, rejected, *scores in EXPECTED[kind]]
    for row in (sft[0], kinds["hybrid"][0]):
        said = {name: row[name] for name in ("prompt", "completion", "chosen", "rejected") if name in row}
        formatted = apply_chat_template(said, tiny.tokenizer())
        assert formatted["prompt"].endswith("<assistant>") and any(NASTY in formatted[name] for name in said)


def test_llama_factory_finds_what_its_readme_demands(tables, tmp_path):
    """Turns alternate from the user on, a system turn may come first; SFT ends with the assistant, ranking with the user."""
    write_llama_factory(tmp_path, *tables)
    for entry in json.loads((tmp_path / "dataset_info.json").read_text()).values():
        tags, columns = entry["tags"], entry["columns"]
        rows = list(
            load_dataset("json", data_files=str(tmp_path / entry["file_name"]), split="train", cache_dir=tmp_path)
        )
        assert entry["formatting"] == "sharegpt" and rows
        for row in rows:
            roles = [turn[tags["role_tag"]] for turn in row[columns["messages"]]]
            roles = roles[1:] if roles[0] == tags["system_tag"] else roles
            ranking = entry.get("ranking", False)
            assert roles[::2] == [tags["user_tag"]] * len(roles[::2]) and len(roles) % 2 == ranking
            assert roles[1::2] == [tags["assistant_tag"]] * len(roles[1::2])
            ends = [row[columns[name]] for name in ("chosen", "rejected")] if ranking else []
            assert all(end[tags["role_tag"]] == tags["assistant_tag"] for end in ends)
    for kind, expected in EXPECTED.items():
        text = (tmp_path / f"preference-{kind}.jsonl").read_text("utf-8")
        lines = [json.loads(line) for line in text.split("\n") if line]
        found = [(row["prompt_id"], row["chosen"]["content"], row["rejected"]["content"]) for row in lines]
        assert found == [one[:3] for one in expected]
        assert [row["messages"] for row in lines] == [LONGER if one[0] == "q" else TALK for one in expected]
    assert [
        json.loads(line)["messages"][-1]["content"]
        for line in (tmp_path / "sft.jsonl").open(encoding="utf-8", newline="\n")
    ] == [
        NASTY,
        "b",
    ]


def test_other_trainers_are_told_which_responses_were_cut_off(tables, tmp_path):
    for write, name in ((write_trl, "trl"), (write_llama_factory, "factory")):
        (tmp_path / name).mkdir()
        write(tmp_path / name, *tables)
    sft, pairs = (
        pq.read_table(tmp_path / "trl" / f"{name}.parquet").to_pylist() for name in ("sft", "preference-hybrid")
    )
    lines = lambda name: [json.loads(line) for line in (tmp_path / "factory" / name).read_bytes().splitlines()]
    for found in (sft, lines("sft.jsonl")):
        assert [row["finish_reason"] for row in found] == ["stop", None]
    for found in (pairs, lines("preference-hybrid.jsonl")):
        assert [(row["finish_reason_chosen"], row["finish_reason_rejected"]) for row in found] == [("stop", "length")]


def test_a_hub_folder_keeps_the_records_as_they_are(tables, tmp_path):
    write_hub(tmp_path, *tables)
    for name, table in zip(("sft", "preference"), tables, strict=True):
        assert pq.read_table(tmp_path / name / "train.parquet").equals(table)


def test_kinds_of_pairs_that_no_record_holds_leave_no_file(tables, tmp_path):
    records, pairs = tables
    for write, name in ((write_trl, "preference-sources.parquet"), (write_llama_factory, "preference-sources.jsonl")):
        (tmp_path / name).mkdir()
        write(tmp_path / name, records, pairs.slice(1, 1))
        assert [file.name for file in (tmp_path / name).glob("preference*")] == [name]


def test_candidates_are_all_responses_those_without_a_score_too(tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "BATCH", 2)
    rows = [
        {"prompt_id": prompt, "sample_index": index, "text": NASTY, "content_id": 40 * str(index)}
        for prompt, index in (("p", 0), ("p", 1), ("held out", 3), ("p", 2))
    ]
    pq.write_table(pa.Table.from_pylist(rows, RESPONSE), tmp_path / "responses.parquet")
    scores = [{"content_id": 40 * "0", "score": 0.1}, {"content_id": 40 * "2", "score": 0.2}]
    pq.write_table(pa.Table.from_pylist(scores, SCORE), tmp_path / "scores.parquet")
    files = (tmp_path / "responses.parquet", tmp_path / "scores.parquet")
    found = pa.concat_tables(exports.candidates("north", *files, pa.array(["p", "q"])))
    assert [(row["source"], row["sample_index"], row["text"], row["score"]) for row in found.to_pylist()] == [
        ("north", 0, NASTY, 0.1),
        ("north", 1, NASTY, None),
        ("north", 2, NASTY, 0.2),
    ]
