"""`fuse export`: a finished recipe's training records as a folder for other trainers, or for a hub."""

import itertools
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.data_card import data_card
from infra.errors import BadInput
from infra.store import Manifest, Store
from tasks.pairs import exports
from tasks.records import PREFERENCE_RECORD, SFT_RECORD
from tasks.stage import Step, lineage

FORMATS = ("trl", "llama-factory", "hub")


def export(recipe: str, last: Step, store: Store, form: str, target: Path, with_candidates: bool) -> None:
    """Writes the folder beside its place and moves it there when it is whole."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInput(f"--to {target}: is there already; name a new folder or an empty one")
    steps = {step.label: step for step in lineage(last) if step.label in ("SFT records", "pairs")}
    made = {label: finished(step, store) for label, step in steps.items()}
    draft = target.with_name(f".{target.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    records = pq.read_table(store.fetch(made["SFT records"]) / "records.parquet")
    pairs = pq.read_table(store.fetch(made["pairs"]) / "pairs.parquet")
    WRITERS[form](draft, records.cast(SFT_RECORD), pairs.cast(PREFERENCE_RECORD))
    if with_candidates:
        write_candidates(draft, list(steps.values()), store)
    if form == "hub":
        (draft / "README.md").write_text(data_card(recipe, made, store, with_candidates), encoding="utf-8")
    if target.exists():
        target.rmdir()
    draft.rename(target)


def finished(step: Step, store: Store) -> Manifest:
    found = store.manifest(step.stage.name, step.fingerprint)
    if found is None:
        raise BadInput(f"{step.label} {step.address} is not in the store yet; fuse run makes it")
    return found


def write_trl(folder: Path, records: pa.Table, pairs: pa.Table) -> None:
    write_tables(folder / "sft.parquet", map(exports.trl_sft, exports.slices(records)))
    write_tables(folder / "preference.parquet", map(exports.trl_preference, exports.slices(pairs)))


def write_llama_factory(folder: Path, records: pa.Table, pairs: pa.Table) -> None:
    write_lines(folder / "sft.jsonl", exports.factory_sft(records))
    write_lines(folder / "preference.jsonl", exports.factory_ranking(pairs))
    (folder / "dataset_info.json").write_text(json.dumps(exports.factory_info(), indent=2))


def write_hub(folder: Path, records: pa.Table, pairs: pa.Table) -> None:
    for name, table in (("sft", records), ("preference", pairs)):
        (folder / name).mkdir()
        write_tables(folder / name / "train.parquet", exports.slices(table))


WRITERS = dict(zip(FORMATS, (write_trl, write_llama_factory, write_hub), strict=True))


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
    """Every response that the records were chosen from, a file per model."""
    (folder / "candidates").mkdir()
    models = {}
    for step in steps:
        for prefix, names in (("", step.what.sources), ("own_", ("SFT",))):
            given = zip(
                names, step.inputs.get(f"{prefix}responses", ()), step.inputs.get(f"{prefix}scores", ()), strict=False
            )
            models |= {name: (responses, scores) for name, responses, scores in given}
    for name, (responses, scores) in models.items():
        files = (
            store.fetch(finished(responses, store), ["responses.parquet"]) / "responses.parquet",
            store.fetch(finished(scores, store), ["scores.parquet"]) / "scores.parquet",
        )
        write_tables(folder / "candidates" / f"{name}.parquet", exports.candidates(name, *files))
