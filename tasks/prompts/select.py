"""The program that selects prompts: reads sets, filters, finds duplicates and contamination. Every dropped row is listed.

python -m tasks.prompts.select JOB OUT
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput
from tasks import program
from tasks.prompts.contamination import Item, contamination
from tasks.prompts.filters import refused_by, text_of
from tasks.prompts.identity import BenchmarkIdentity, DecontaminationIdentity, SelectionIdentity, SetIdentity
from tasks.prompts.minhash import signatures
from tasks.prompts.near_duplicates import near_duplicates
from tasks.prompts.reading import raw_rows, read_prompts
from tasks.prompts.words import hashed
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
EVIDENCE = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("set", pa.string()),
        ("benchmark", pa.string()),
        ("item", pa.string()),
        ("method", pa.string()),  # exact | 8-gram | 13-gram | minhash
        ("amount", pa.float64()),  # share of the item's n-grams; Jaccard similarity
        ("contaminated", pa.bool_()),  # false: for review, below the threshold
        ("excerpt", pa.string()),
    ]
)


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
                del prompt["response"]
                fresh[prompt["prompt_id"]] = prompt
        beyond = set(sorted(fresh)[one.limit :]) if one.limit else set()
        for prompt_id in beyond:
            self.drop(fresh.pop(prompt_id), "limit")
        self.kept |= fresh

    def remove(self, gone: Iterable[tuple[str, str, str]]) -> None:
        for prompt_id, reason, detail in gone:
            self.drop(self.kept.pop(prompt_id), reason, detail)


def main(job: dict, out: Path, progress: program.Progress) -> dict:
    what = SelectionIdentity.model_validate(job["what"])
    selecting = Selecting()
    for number, one in enumerate(what.sets, 1):
        selecting.take_set(one, Path(job["sets"][one.name]))
        progress(number, len(what.sets), "sets")
    counts = {"rows_read": selecting.read}
    if what.near_duplicates or what.decontamination:
        documents = [hashed(text_of(prompt["messages"])) for prompt in selecting.kept.values()]
        signed = signatures(documents)
        ids = list(selecting.kept)
        if what.decontamination:
            counts |= decontaminate(selecting, ids, documents, signed, what.decontamination, job["benchmarks"], out)
        if what.near_duplicates:
            drop_near_duplicates(selecting, ids, documents, signed, what.near_duplicates.similarity)
    if not selecting.kept:
        raise BadInput(f"prompts: of {selecting.read} rows none is left ({reasons(selecting)})")
    write_all(selecting, out)
    return {"rows": len(selecting.kept), **counts, **by_reason(selecting), **by_set(selecting, what)}


def drop_near_duplicates(selecting: Selecting, ids: list[str], documents, signed, least: float) -> None:
    """Among the prompts that are still there."""
    here = [number for number, prompt_id in enumerate(ids) if prompt_id in selecting.kept]
    gone = near_duplicates([documents[number] for number in here], signed[here], least)
    selecting.remove(
        (ids[here[later]], "near_duplicates", f"{ids[here[first]]}, similarity {similarity:.3f}")
        for later, (first, similarity) in gone.items()
    )


def decontaminate(
    selecting: Selecting, ids: list[str], documents, signed, what: DecontaminationIdentity, files: dict, out: Path
) -> dict:
    items = [item for one in what.benchmarks for item in read_items(one, Path(files[one.name]))]
    turns = [[turn["content"] for turn in selecting.kept[prompt_id]["messages"]] for prompt_id in ids]
    found = contamination(turns, documents, signed, items, what.containment, what.similarity)
    found["prompt_id"] = [ids[number] for number in found["prompt"]]
    found["set"] = [selecting.kept[prompt_id]["set"] for prompt_id in found["prompt_id"]]
    pq.write_table(pa.Table.from_pandas(found, EVIDENCE, preserve_index=False), out / "contamination.parquet")
    guilty = found[found["contaminated"]].drop_duplicates("prompt_id")
    if what.action == "drop":
        selecting.remove(
            (row.prompt_id, "contaminated", f"{row.benchmark} {row.item}, {row.method} {row.amount:.3f}")
            for row in guilty.itertuples()
        )
    review = set(found["prompt_id"]) - set(guilty["prompt_id"])
    return {"benchmark_items": len(items), "contaminated": len(guilty), "to_review": len(review)}


def read_items(one: BenchmarkIdentity, file: Path) -> Iterable[Item]:
    """The items of a benchmark. Of one with several turns all of them together, and the first alone, are looked for."""
    for number, row in enumerate(raw_rows(file), 1):
        value = row.get(one.text) if isinstance(row, dict) else row
        turns = [value] if isinstance(value, str) else value
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
            raise BadInput(f"{file}, row {number}: {one.text}: neither a text nor texts: {value!r:.80}")
        name = str(row.get(one.id)) if one.id else str(number)
        for text in dict.fromkeys(("\n".join(turns), turns[0])):
            if text.strip():
                yield Item(one.name, name, text)


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


if __name__ == "__main__":
    program.run(main)
