"""Collects the kept prompts and the list of dropped rows: every row that was read is in one of the two."""

from collections import Counter
from collections.abc import Iterable, Sequence
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
        ("detail", pa.string()),  # the prompt that it repeats, the benchmark's item, or the problem of a bad row
    ]
)
GIVEN = pa.schema([("prompt_id", pa.string()), ("set", pa.string()), ("row", pa.int64()), ("text", pa.string())])


class Dropped:
    """Writes the dropped rows to a file and counts them by reason."""

    def __init__(self, file: Path):
        self.writer = pq.ParquetWriter(file, DROPPED, compression="zstd")
        self.waiting: list[dict] = []
        self.reasons: Counter[str] = Counter()

    def add(self, prompt: dict, reason: str, detail: str) -> None:
        known = {name: prompt.get(name) for name in ("set", "row", "prompt_id")}
        self.waiting.append({**known, "reason": reason, "detail": detail})
        self.reasons[reason] += 1
        if len(self.waiting) == 10_000:
            self.flush()

    def flush(self) -> None:
        self.writer.write_table(pa.Table.from_pylist(self.waiting, DROPPED))
        self.waiting.clear()

    def close(self) -> None:
        self.flush()
        self.writer.close()


class Selecting:
    """The kept prompts, and the dropped rows. For a set with a limit, it holds at most twice that many prompts in memory."""

    def __init__(self, out: Path) -> None:
        self.kept: dict[str, dict] = {}  # by id, in order of sets and rows
        self.given: dict[str, list[dict]] = {}  # responses that came with the sets, by prompt id
        self.dropped = Dropped(out / "dropped.parquet")
        self.read = 0

    def drop(self, prompt: dict, reason: str, detail: str = "") -> None:
        self.dropped.add(prompt, reason, detail)

    def take_set(self, prompt_set: SetIdentity, files: Sequence[Path]) -> None:
        """Adds a set's prompts: applies its filters, drops duplicates of earlier rows and sets, applies its limit."""
        source, limit = prompt_set.source, prompt_set.limit
        fresh: dict[str, dict] = {}
        for row, prompt, problem in read_prompts(
            files, source.columns, prompt_set.category, drop_bad=source.bad_rows == "drop"
        ):
            self.read += 1
            place = {"set": prompt_set.name, "row": row}
            if prompt is None:
                self.drop(place, "bad_row", problem)
                continue
            prompt |= {**place, "part": prompt_set.part or prompt["part"]}
            if reason := refused_by(prompt_set.filters, prompt):
                self.drop(prompt, reason, prompt["unmined"])
                continue
            self.keep_answer(prompt)
            if before := self.kept.get(prompt["prompt_id"]) or fresh.get(prompt["prompt_id"]):
                before["gold"] = before["gold"] or prompt["gold"]  # keep a gold answer that only the duplicate has
                self.drop(prompt, "duplicates", f"{before['set']}, row {before['row']}")
                continue
            fresh[prompt["prompt_id"]] = prompt
            if limit and len(fresh) == 2 * limit:
                self.prune(fresh, limit)
        self.prune(fresh, limit or len(fresh))
        self.kept |= fresh

    def keep_answer(self, prompt: dict) -> None:
        if prompt["response"] is not None:
            known = {name: prompt[name] for name in ("prompt_id", "set", "row")}
            self.given.setdefault(prompt["prompt_id"], []).append({**known, "text": prompt["response"]})

    def prune(self, fresh: dict[str, dict], limit: int) -> None:
        for prompt_id in sorted(fresh)[limit:]:
            self.drop(fresh.pop(prompt_id), "limit")
            self.given.pop(prompt_id, None)

    def remove(self, gone: Iterable[tuple[str, str, str]]) -> None:
        for prompt_id, reason, detail in gone:
            self.drop(self.kept.pop(prompt_id), reason, detail)


def write_all(selecting: Selecting, out: Path) -> None:
    prompts = sorted(selecting.kept.values(), key=lambda prompt: prompt["prompt_id"])
    tables = {"prompts": (PROMPT, prompts), "origins": (ORIGIN, prompts)}
    if given := [answer for prompt in prompts for answer in selecting.given.get(prompt["prompt_id"], ())]:
        tables["given_responses"] = (GIVEN, given)
    for name, (schema, rows) in tables.items():
        kept = [{field: row[field] for field in schema.names} for row in rows]
        pq.write_table(pa.Table.from_pylist(kept, schema), out / f"{name}.parquet", compression="zstd")
    selecting.dropped.close()


def by_reason(selecting: Selecting) -> dict[str, int]:
    return {f"dropped_{name.replace('-', '_')}": count for name, count in sorted(selecting.dropped.reasons.items())}


def by_set(selecting: Selecting, what: SelectionIdentity) -> dict[str, int]:
    if len(what.sets) < 2:
        return {}
    kept = pd.Series([prompt["set"] for prompt in selecting.kept.values()]).value_counts()
    return {f"from_{prompt_set.name}": int(kept.get(prompt_set.name, 0)) for prompt_set in what.sets}


def reasons(selecting: Selecting) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in by_reason(selecting).items())
