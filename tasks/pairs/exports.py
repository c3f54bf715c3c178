"""Converts training records to the formats of other trainers. `flows/results/export.py` writes the files.

Other trainers put an end token after every response; `finish_reason` marks the responses that were cut off ("length").

A record with more than two responses contains pairs of several kinds. Each kind is a separate table, so that a trainer can
use one of them. The kinds depend on the filled roles, not on the rules.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from tasks.pairs.candidates import BATCH, looked_up
from tasks.records import MESSAGES

pc: Any = pyarrow.compute  # it makes its functions at import, where no type checker sees them
KINDS = {  # kind of pair -> (role of the chosen response, role of the rejected one)
    "hybrid": ("source_best", "own_worst"),
    "on-policy": ("own_best", "own_worst"),
    "sources": ("source_best", "source_worst"),
}
TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
CANDIDATE = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("source", pa.string()),
        ("sample_index", pa.int32()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("score", pa.float64()),  # null if the reward model gave no score
    ]
)
OPENAI_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}


def trl_sft(records: pa.Table) -> pa.Table:
    """TRL's conversational prompt-completion form."""
    return pa.table(
        {
            "prompt": records["messages"],
            "completion": as_messages(records["response"]),
            **{name: records[name] for name in ("prompt_id", "source", "score", "finish_reason")},
        }
    )


def pairs_of(records: pa.Table, kind: str) -> pa.Table:
    """The records with a pair of this kind. Leaves out pairs whose chosen response has the lower score: WRPO may train on a
    source's best response that scores below the target's worst, other trainers should not. Pairs of sources are not
    filtered, because checks may have chosen them instead of scores."""
    better, worse = KINDS[kind]
    held = pc.and_(records[better].is_valid(), records[worse].is_valid())
    if kind != "sources":
        held = pc.and_(held, pc.greater(records[f"{better}_score"], records[f"{worse}_score"]))
    return records.filter(held)


def trl_preference(records: pa.Table, kind: str) -> pa.Table:
    """TRL's conversational preference form with an explicit prompt."""
    (better, worse), rows = KINDS[kind], pairs_of(records, kind)
    return pa.table(
        {
            "prompt": rows["messages"],
            "chosen": as_messages(rows[better]),
            "rejected": as_messages(rows[worse]),
            "prompt_id": rows["prompt_id"],
            "score_chosen": rows[f"{better}_score"],
            "score_rejected": rows[f"{worse}_score"],
            "finish_reason_chosen": rows[f"{better}_finish_reason"],
            "finish_reason_rejected": rows[f"{worse}_finish_reason"],
        }
    )


def as_messages(texts: pa.ChunkedArray) -> pa.Array:
    """Each text as a list with one assistant message."""
    texts = texts.combine_chunks()
    turns = pa.StructArray.from_arrays([pa.array(["assistant"] * len(texts), pa.string()), texts], fields=list(TURN))
    return pa.ListArray.from_arrays(pa.array(range(len(texts) + 1), pa.int32()), turns).cast(MESSAGES)


def factory_sft(records: pa.Table) -> Iterator[dict]:
    """LLaMA-Factory's sharegpt form with OpenAI's names."""
    for row in (row for rows in slice_table(records) for row in rows.to_pylist()):
        answer = {"role": "assistant", "content": row["response"]}
        more = {name: row[name] for name in ("prompt_id", "source", "finish_reason")}
        yield {"messages": [*row["messages"], answer], **more}


def factory_ranking(records: pa.Table, kind: str) -> Iterator[dict]:
    """LLaMA-Factory's ranking form: the conversation, the chosen and the rejected message."""
    for row in (row for rows in slice_table(records) for row in trl_preference(rows, kind).to_pylist()):
        yield {
            "messages": row["prompt"],
            "chosen": row["chosen"][0],
            "rejected": row["rejected"][0],
            **{name: value for name, value in row.items() if name not in ("prompt", "chosen", "rejected")},
        }


def factory_info(kinds: Collection[str]) -> dict:
    """LLaMA-Factory's dataset_info.json."""
    common = {"formatting": "sharegpt", "tags": OPENAI_TAGS}
    columns = {"messages": "messages", "chosen": "chosen", "rejected": "rejected"}
    return {
        "fusion_sft": {"file_name": "sft.jsonl", **common, "columns": {"messages": "messages"}},
        **{
            f"fusion_{kind}": {"file_name": f"preference-{kind}.jsonl", "ranking": True, **common, "columns": columns}
            for kind in kinds
        },
    }


def slice_table(table: pa.Table) -> Iterator[pa.Table]:
    """A few rows at a time, because a whole column of text may not fit into one array."""
    for start in range(0, max(len(table), 1), BATCH):
        yield table.slice(start, BATCH)


def list_candidates(name: str, responses: Path, scores: Path, prompts: pa.Array) -> Iterator[pa.Table]:
    """All responses of one model to these prompts, with their scores."""
    content = pq.read_table(responses, columns=["content_id"])["content_id"].combine_chunks()
    score, start = pa.array(looked_up(content, scores), from_pandas=True), 0
    columns = [column for column in CANDIDATE.names if column not in ("source", "score")]
    for batch in pq.ParquetFile(responses).iter_batches(BATCH, columns=columns):
        rows = {column: batch[column] for column in columns}
        rows |= {"source": pa.array([name] * len(batch), pa.string()), "score": score.slice(start, len(batch))}
        start += len(batch)
        table = pa.table({column: rows[column] for column in CANDIDATE.names}).cast(CANDIDATE)
        yield table.filter(pc.is_in(table["prompt_id"], prompts))
