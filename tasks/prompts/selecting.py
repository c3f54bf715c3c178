"""The prompts that are chosen so far and the list of those that are not: every row read is in one of the two."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.prompts.filters import refused_by
from tasks.prompts.identity import SelectionIdentity, SetIdentity
from tasks.prompts.reading import read_prompts
from tasks.records import PROMPT

ORIGIN = pa.schema([("prompt_id", pa.string()), ("set", pa.string()), ("row", pa.int64())])
DROPPED = pa.schema(
    [
        ("set", pa.string()),
        ("row", pa.int64()),  # from 1
        ("prompt_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),  # the prompt that it repeats, the benchmark's item, what is wrong with it
    ]
)
GIVEN = pa.schema([("prompt_id", pa.string()), ("set", pa.string()), ("row", pa.int64()), ("text", pa.string())])


class Selecting:
    """The prompts that are left, and the list of those that are not."""

    def __init__(self) -> None:
        self.kept: dict[str, dict] = {}  # by id, in order of sets and rows
        self.dropped: list[dict] = []
        self.given: list[dict] = []
        self.read = 0

    def drop(self, prompt: dict, reason: str, detail: str = "") -> None:
        known = {name: prompt.get(name) for name in ("set", "row", "prompt_id")}
        self.dropped.append({**known, "reason": reason, "detail": detail})

    def take_set(self, one: SetIdentity, file: Path) -> None:
        """A set's prompts after its own filters, without those that an earlier row or set has, within its limit."""
        fresh: dict[str, dict] = {}
        for row, prompt, problem in read_prompts(
            file, one.source.columns, one.category, drop_bad=one.source.bad_rows == "drop"
        ):
            self.read += 1
            place = {"set": one.name, "row": row}
            if prompt is None:
                self.drop(place, "bad_row", problem)
                continue
            prompt |= place
            answer = prompt["response"]
            if answer is not None:
                self.given.append({**place, "prompt_id": prompt["prompt_id"], "text": answer})
            if reason := refused_by(one.filters, prompt):
                self.drop(prompt, reason)
            elif before := self.kept.get(prompt["prompt_id"]) or fresh.get(prompt["prompt_id"]):
                self.drop(prompt, "duplicates", f"{before['set']}, row {before['row']}")
            else:
                fresh[prompt["prompt_id"]] = prompt
        beyond = set(sorted(fresh)[one.limit :]) if one.limit else set()
        for prompt_id in beyond:
            self.drop(fresh.pop(prompt_id), "limit")
        self.kept |= fresh

    def remove(self, gone: Iterable[tuple[str, str, str]]) -> None:
        for prompt_id, reason, detail in gone:
            self.drop(self.kept.pop(prompt_id), reason, detail)


def write_all(selecting: Selecting, out: Path) -> None:
    prompts = sorted(selecting.kept.values(), key=lambda prompt: prompt["prompt_id"])
    tables = {"prompts": (PROMPT, prompts), "origins": (ORIGIN, prompts), "dropped": (DROPPED, selecting.dropped)}
    if given := [answer for answer in selecting.given if answer["prompt_id"] in selecting.kept]:
        tables["given_responses"] = (GIVEN, given)
    for name, (schema, rows) in tables.items():
        kept = [{field: row[field] for field in schema.names} for row in rows]
        pq.write_table(pa.Table.from_pylist(kept, schema), out / f"{name}.parquet", compression="zstd")


def by_reason(selecting: Selecting) -> dict[str, int]:
    found = pd.Series([row["reason"] for row in selecting.dropped], dtype=str).value_counts()
    return {f"dropped_{reason.replace('-', '_')}": int(number) for reason, number in sorted(found.items())}


def by_set(selecting: Selecting, what: SelectionIdentity) -> dict[str, int]:
    held = pd.Series([prompt["set"] for prompt in selecting.kept.values()]).value_counts()
    return {f"from_{one.name}": int(held.get(one.name, 0)) for one in what.sets} if len(what.sets) > 1 else {}


def reasons(selecting: Selecting) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in by_reason(selecting).items())
