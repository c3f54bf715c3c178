"""`fuse export`: a finished recipe's training records as a folder for other trainers, or for a hub."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.config.recipe import Recipe
from flows.results.data_card import data_card
from infra.errors import BadInput
from infra.manifest import Manifest
from infra.store import Store
from tasks.pairs import exports
from tasks.pairs.stage import Pairs, SftRecords
from tasks.records import PREFERENCE_RECORD, SFT_RECORD
from tasks.stage import Step, lineage

FORMATS = ("trl", "llama-factory", "hub")


def write_export(recipe: Recipe, last: Step, store: Store, form: str, target: Path, with_candidates: bool) -> None:
    """Writes into a draft folder beside the target and renames it when it is complete."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInput(f"--to {target}: exists already; name a new folder or an empty one")
    steps = {step.label: step for step in lineage(last) if step.label in ("SFT records", "pairs")}
    made = {label: find_finished(step, store) for label, step in steps.items()}
    draft = target.with_name(f".{target.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
    except OSError as problem:
        raise BadInput(f"--to {target}: {problem.strerror}: {problem.filename}") from problem
    sft_step = steps.get("SFT records")  # missing in a recipe without SFT
    records = table_of(sft_step, "records.parquet", store) if sft_step else SFT_RECORD.empty_table()
    pairs = table_of(steps["pairs"], "pairs.parquet", store)
    WRITERS[form](draft, records.cast(SFT_RECORD), pairs.cast(PREFERENCE_RECORD))
    if with_candidates:
        write_candidates(draft, list(steps.values()), store)
    if form == "hub":
        (draft / "README.md").write_text(data_card(recipe, made, store, with_candidates), encoding="utf-8")
    if target.exists():
        target.rmdir()
    draft.rename(target)


def find_finished(step: Step, store: Store) -> Manifest:
    found = store.manifest(step.stage.name, step.fingerprint)
    if found is None:
        raise BadInput(f"{step.label} {step.address} is not in the store yet; fuse run makes it")
    return found


def kinds_in(pairs: pa.Table) -> list[str]:
    return [kind for kind in exports.KINDS if len(exports.pairs_of(pairs, kind))]


def write_trl(folder: Path, records: pa.Table, pairs: pa.Table) -> None:
    write_tables(folder / "sft.parquet", map(exports.trl_sft, exports.slice_table(records)))
    for kind in kinds_in(pairs):
        tables = (exports.trl_preference(part, kind) for part in exports.slice_table(pairs))
        write_tables(folder / f"preference-{kind}.parquet", tables)


def write_llama_factory(folder: Path, records: pa.Table, pairs: pa.Table) -> None:
    write_lines(folder / "sft.jsonl", exports.factory_sft(records))
    for kind in kinds_in(pairs):
        write_lines(folder / f"preference-{kind}.jsonl", exports.factory_ranking(pairs, kind))
    (folder / "dataset_info.json").write_text(json.dumps(exports.factory_info(kinds_in(pairs)), indent=2))


def write_hub(folder: Path, records: pa.Table, pairs: pa.Table) -> None:
    for name, table in (("sft", records), ("preference", pairs)):
        (folder / name).mkdir()
        write_tables(folder / name / "train.parquet", exports.slice_table(table))


WRITERS: dict[str, Callable[[Path, pa.Table, pa.Table], None]] = dict(
    zip(FORMATS, (write_trl, write_llama_factory, write_hub), strict=True)
)


def write_tables(file: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pq.ParquetWriter(file, first.schema, compression="zstd") as out:
        for table in itertools.chain([first], tables):
            out.write_table(table)


def write_lines(file: Path, rows: Iterable[dict]) -> None:
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_candidates(folder: Path, steps: list[Step], store: Store) -> None:
    """Writes all responses that the records were chosen from, one file per model, and their prompts. Only prompts of the SFT
    and the preference part, because held-out prompts must not be used for training."""
    (folder / "candidates").mkdir()
    parts = table_of(steps[-1].inputs["splits"][0], "splits.parquet", store)
    used = pc.is_in(parts["part"], pa.array(["sft", "preference"]))  # pyright: ignore[reportAttributeAccessIssue]
    chosen = parts.filter(used)["prompt_id"].combine_chunks()
    prompts = table_of(steps[-1].inputs["prompts"][0], "prompts.parquet", store)
    (folder / "prompts").mkdir()
    answered = pc.is_in(prompts["prompt_id"], chosen)  # pyright: ignore[reportAttributeAccessIssue]
    write_tables(folder / "prompts" / "prompts.parquet", iter([prompts.filter(answered)]))
    models = {}
    for step in steps:
        for prefix, names in (("", cast("SftRecords | Pairs", step.what).sources), ("own_", ("SFT",))):
            inputs = zip(
                names, step.inputs.get(f"{prefix}responses", ()), step.inputs.get(f"{prefix}scores", ()), strict=False
            )
            models |= {name: (responses, scores) for name, responses, scores in inputs}
    for name, (responses, scores) in models.items():
        files = (
            store.fetch(find_finished(responses, store), ["responses.parquet"]) / "responses.parquet",
            store.fetch(find_finished(scores, store), ["scores.parquet"]) / "scores.parquet",
        )
        write_tables(folder / "candidates" / f"{name}.parquet", exports.list_candidates(name, *files, chosen))


def table_of(step: Step, name: str, store: Store) -> pa.Table:
    return pq.read_table(store.fetch(find_finished(step, store), [name]) / name)
