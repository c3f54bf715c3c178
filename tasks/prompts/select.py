"""Program: selects prompts. Reads sets, filters rows, finds duplicates and contamination, and lists every dropped row.

python -m tasks.prompts.select JOB OUT
"""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput
from tasks import program
from tasks.prompts.contamination import Item, find_contamination, is_short
from tasks.prompts.filters import join_turns
from tasks.prompts.identity import BenchmarkIdentity, DecontaminationIdentity, SelectionIdentity
from tasks.prompts.minhash import compute_signatures
from tasks.prompts.near_duplicates import near_duplicates
from tasks.prompts.reading import number_rows, raw_rows
from tasks.prompts.selecting import Selecting, by_reason, by_set, describe_reasons, write_all
from tasks.prompts.words import hash_words

EVIDENCE = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("set", pa.string()),
        ("benchmark", pa.string()),
        ("item", pa.string()),
        ("method", pa.string()),  # exact | 8-gram | 13-gram | all-words (short items) | minhash
        ("amount", pa.float64()),  # share of the item's n-grams; Jaccard similarity
        ("contaminated", pa.bool_()),  # false: below the threshold, for review
        ("excerpt", pa.string()),
    ]
)


def main(job: dict, out: Path, progress: program.Progress) -> dict:
    what = SelectionIdentity.model_validate(job["what"])
    selecting = Selecting(out)
    for number, prompt_set in enumerate(what.sets, 1):
        selecting.take_set(prompt_set, [Path(file) for file in job["sets"][prompt_set.name]])
        progress(number, len(what.sets), "sets")
    counts = {"rows_read": selecting.read}
    if what.near_duplicates or what.decontamination:
        documents = [hash_words(join_turns(prompt["messages"])) for prompt in selecting.kept.values()]
        signed = compute_signatures(documents)
        ids = list(selecting.kept)
        if what.decontamination:
            counts |= drop_contaminated(selecting, ids, documents, signed, what.decontamination, job["benchmarks"], out)
        if what.near_duplicates:
            drop_near_duplicates(selecting, ids, documents, signed, what.near_duplicates.similarity)
    if not selecting.kept:
        raise BadInput(f"prompts: all {selecting.read} rows were dropped ({describe_reasons(selecting)})")
    write_all(selecting, out)
    golds = sum(bool((prompt["gold"] or "").strip()) for prompt in selecting.kept.values())
    return {
        "rows": len(selecting.kept),
        "with_gold": golds,
        **counts,
        **by_reason(selecting),
        **by_set(selecting, what),
    }


def drop_near_duplicates(selecting: Selecting, ids: list[str], documents, signed, least: float) -> None:
    """Drops near-duplicates among the prompts that are still kept."""
    left = [number for number, prompt_id in enumerate(ids) if prompt_id in selecting.kept]
    gone = near_duplicates([documents[number] for number in left], signed[left], least)
    selecting.remove(
        (ids[left[later]], "near_duplicates", f"{ids[left[first]]}, similarity {similarity:.3f}")
        for later, (first, similarity) in gone.items()
    )


def drop_contaminated(
    selecting: Selecting, ids: list[str], documents, signed, what: DecontaminationIdentity, files: dict, out: Path
) -> dict:
    items = []
    for benchmark in what.benchmarks:
        found = list(read_items(benchmark, [Path(file) for file in files[benchmark.name]]))
        if not found:
            raise BadInput(
                f"prompts.decontamination.benchmarks.{benchmark.name}: no item has a text in column {benchmark.text!r}"
            )
        items += found
    turns = [[turn["content"] for turn in selecting.kept[prompt_id]["messages"]] for prompt_id in ids]
    found = find_contamination(turns, documents, signed, items, what.containment, what.similarity)
    found["prompt_id"] = [ids[number] for number in found["prompt"]]
    found["set"] = [selecting.kept[prompt_id]["set"] for prompt_id in found["prompt_id"]]
    pq.write_table(pa.Table.from_pandas(found, EVIDENCE, preserve_index=False), out / "contamination.parquet")
    contaminated = found[found["contaminated"]].drop_duplicates("prompt_id")
    if what.action == "drop":
        selecting.remove(
            (str(row.prompt_id), "contaminated", f"{row.benchmark} {row.item}, {row.method} {row.amount:.3f}")
            for row in contaminated.itertuples()
        )
    review = set(found["prompt_id"]) - set(contaminated["prompt_id"])
    short = {(item.benchmark, item.id) for item in items if is_short(item)}
    return {
        "benchmark_items": len({(item.benchmark, item.id) for item in items}),
        "benchmark_items_too_short_for_n_grams": len(short),
        "contaminated": len(contaminated),
        "to_review": len(review),
    }


def read_items(benchmark: BenchmarkIdentity, files: list[Path]) -> Iterable[Item]:
    """The items of a benchmark. An item with several turns gives two texts: all turns together, and the first turn."""
    for file, place, number, row in number_rows(files, raw_rows):
        value = row.get(benchmark.text) if isinstance(row, dict) else row
        turns = [value] if isinstance(value, str) else value
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
            raise BadInput(f"{file}, row {place}: {benchmark.text}: neither a text nor a list of texts: {value!r:.80}")
        name = str(row.get(benchmark.id)) if benchmark.id else str(number)
        for text in dict.fromkeys(("\n".join(turns), turns[0])):
            if text.strip():
                yield Item(benchmark.name, name, text)


if __name__ == "__main__":
    program.run_program(main)
