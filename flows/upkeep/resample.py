"""Makes a sample of stored rows again and compares: sampling, scores, checks and reference log-probs. Changes no artifact.

The sample is one of equal shares of the rows, chosen by a seed. It is made as a run on several hosts would make that share,
into pools that are empty and beside the store. Texts, checks and counts must be equal; scores and log-probs may differ within
a tolerance, because another batch changes their last bits.
"""

import hashlib
import json
import random
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from flows.workspace import Workspace
from infra.errors import BadInput
from infra.manifest import FileEntry, Manifest
from infra.scratch import new_scratch
from infra.settings import settings
from infra.store import Store
from tasks.execution import Observer, Run, Share, find_provenance, inputs_of
from tasks.records import REFUSED
from tasks.responses.engines import EndpointEngine
from tasks.stage import Step, lineage

RECORDS = "_resamples"  # where the store keeps the results, by the artifact's address
SHOWN = 5  # examples of rows that differ


@dataclass(frozen=True)
class Comparison:
    """How the rows of a stage are compared: `exact` columns must be equal, `near` ones within a tolerance."""

    files: tuple[str, ...]
    key: tuple[str, ...]
    exact: tuple[str, ...]
    near: tuple[str, ...] = ()
    tolerance: float = 0.0  # absolute, and relative to the stored value


COMPARISONS = {
    "per-model-sampling": Comparison(
        ("responses.parquet", "refused.parquet"),
        ("prompt_id", "sample_index"),
        ("text", "tokens", "finish_reason", "seed"),
    ),
    "reward-annotation": Comparison(("scores.parquet",), ("content_id",), ("reason",), ("score",), 1e-4),
    "reward-checks": Comparison(("scores.parquet",), ("content_id",), ("score", "verdict", "passed", "total")),
    "reference-log-probs": Comparison(("reference.parquet",), ("content_id",), ("tokens",), ("log_prob",), 1e-3),
}
BF16_TOLERANCE = 0.02  # instead, of log-probs and scores in bf16


@dataclass(frozen=True)
class Resampled:
    """The result for one artifact. `skipped` says why nothing was made again."""

    address: str
    label: str
    stored: int = 0
    rows: int = 0
    equal: int = 0  # also those within the tolerance
    tolerance: float = 0.0
    different: tuple[str, ...] = ()  # the first ones
    drift: tuple[str, ...] = ()
    skipped: str = ""


class EmptyPools(Store):
    """A store whose pools are empty: rows that are appended go to a folder beside it."""

    def __init__(self, store: Store, folder: Path):
        self.__dict__.update(store.__dict__)
        self.beside = Store(str(folder / "store"), folder / "cache")

    def parts(self, pool: str) -> list[FileEntry]:
        return self.beside.parts(pool)

    def append(self, pool: str, file: Path, rows: int) -> FileEntry:
        return self.beside.append(pool, file, rows)

    def fetch_part(self, entry: FileEntry) -> Path:
        return self.beside.fetch_part(entry)


def choose_share(text: str, seed: int) -> Share:
    """`1%` or `0.01`: one of 100 shares, chosen by the seed."""
    try:
        size = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        size = 0.0
    if not 0 < size <= 1:
        raise BadInput(f"--resample: must be a share above 0 and at most 1, for example 1%, not {text!r}")
    of = round(1 / size)
    return Share(number=random.Random(seed).randint(1, of), of=of)


def resample_recipe(last: Step, place: Workspace, share: Share, seed: int, observe: Observer) -> list[Resampled]:
    """Makes the share of the rows of every stored step with rows again, and keeps the results in the store."""
    found = []
    for step in lineage(last):
        manifest = place.store.manifest(step.stage.name, step.fingerprint)
        if step.stage.name in COMPARISONS and manifest:
            result = resample_step(step, manifest, place, share, observe)
            if not result.skipped:
                keep_result(result, share, seed, place.store)
            found.append(result)
    return found


def resample_step(step: Step, manifest: Manifest, place: Workspace, share: Share, observe: Observer) -> Resampled:
    if isinstance(step.how, EndpointEngine) or step.what.model_dump().get("kind") == "endpoint":
        return Resampled(step.address, step.label, skipped="an endpoint made its rows")
    scratch = new_scratch(settings().workspace / "scratch")
    store = EmptyPools(place.store, scratch)
    run = Run(step, store, place.launcher, scratch, observe, share=share)
    run.folder.mkdir(parents=True, exist_ok=True)
    observe(step, "running", 0, 0, "")
    step.stage.work(run, step.what, step.how, **inputs_of(step, place.store))
    assert step.pool is not None  # its stage is one with rows
    parts = [pd.read_parquet(store.fetch_part(entry)) for entry in store.parts(step.pool)]
    observe(step, "done", 0, 0, "")
    made = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    rows = read_stored(manifest, COMPARISONS[step.stage.name], place.store)
    shutil.rmtree(scratch)
    if made.empty:
        return Resampled(step.address, step.label, skipped="no row of it is in the sample")
    return compare_rows(step, manifest, rows, made)


def read_stored(manifest: Manifest, how: Comparison, store: Store) -> pd.DataFrame:
    names = [entry.name for entry in manifest.files if entry.name in how.files]
    folder = store.fetch(manifest, names)
    columns = [
        *how.key,
        *how.exact,
        *how.near,
        *(["engine"] if "engine" in pq.read_schema(folder / names[0]).names else []),
    ]
    return pd.concat([pd.read_parquet(folder / name, columns=columns) for name in names], ignore_index=True)


def compare_rows(step: Step, manifest: Manifest, stored: pd.DataFrame, made: pd.DataFrame) -> Resampled:
    how = COMPARISONS[step.stage.name]
    tolerance = BF16_TOLERANCE if how.near and manifest.what.get("precision") == "bf16" else how.tolerance
    key = list(how.key)
    both = made.merge(stored, on=key, how="left", suffixes=("", " stored"), validate="one_to_one", indicator=True)
    good = both["_merge"] == "both"
    for column in how.exact:
        one, other = both[column], both[f"{column} stored"]
        good &= (one == other) | (one.isna() & other.isna())
    for column in how.near:
        one, other = both[column].astype(float), both[f"{column} stored"].astype(float)
        good &= ((one - other).abs() <= tolerance * (1 + other.abs())) | (one.isna() & other.isna())
    if "finish_reason" in how.exact:  # a prompt that the engine refuses is refused again, perhaps in other words
        refused = [both[name].fillna("").str.startswith(REFUSED) for name in ("finish_reason", "finish_reason stored")]
        good |= refused[0] & refused[1]
    different = [" ".join(map(str, row)) for row in both.loc[~good, key].head(SHOWN).itertuples(index=False)]
    return Resampled(
        step.address,
        step.label,
        len(stored),
        len(both),
        int(good.sum()),
        tolerance if how.near else 0.0,
        tuple(different),
        tuple(find_drift(manifest, both)),
    )


def find_drift(manifest: Manifest, both: pd.DataFrame) -> list[str]:
    """What changed since the artifact was made: engines, libraries, the machine."""
    found = []
    if "engine" in both and "engine stored" in both:
        changed = both[(both["engine"] != both["engine stored"]) & both["engine stored"].notna()]
        pairs = changed[["engine stored", "engine"]].drop_duplicates().itertuples(index=False)
        found += [f"engine {before} → {after}" for before, after in pairs]
    now = find_provenance()
    watched = ("machine", "cores", "torch", "transformers")
    return found + [
        f"{name} {manifest.provenance[name]} → {now[name]}"
        for name in watched
        if name in manifest.provenance and manifest.provenance[name] != now[name]
    ]


def keep_result(result: Resampled, share: Share, seed: int, store: Store) -> None:
    """Writes the result beside the artifact's lineage, with a digest of its fields."""
    fields = asdict(result) | {
        "share": f"1/{share.of}",
        "seed": seed,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_on": find_provenance(),
    }
    body = json.dumps(fields, sort_keys=True, indent=1)
    digest = hashlib.sha256(body.encode()).hexdigest()
    store.blobs.create(f"{RECORDS}/{result.address}/{digest}.json", body.encode())


def read_results(address: str, store: Store) -> list[dict]:
    """The results for an artifact, oldest first; those whose bytes do not fit their digest are left out."""
    found = []
    for path in store.blobs.list(f"{RECORDS}/{address}"):
        raw = store.blobs.read(path)
        if path.endswith(f"/{hashlib.sha256(raw).hexdigest()}.json"):
            found.append(json.loads(raw))
    return sorted(found, key=lambda result: result["at"])


def read_all_results(artifacts: list[Manifest], store: Store) -> list[dict]:
    """The newest result for each of these artifacts that has any."""
    tried = {path.split("/")[2] for path in store.blobs.list(RECORDS)}
    with_results = [f"{one.stage}/{one.fingerprint}" for one in artifacts if one.fingerprint in tried]
    return [results[-1] for address in with_results if (results := read_results(address, store))]
