"""Per-model sampling: writes `responses.parquet`, n responses of one model per prompt, sorted by prompt and sample index.

If some prompts have no answer, it also writes `refused.parquet`: the same columns, with the reason in `finish_reason`.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput, BudgetReached, SourceFailed
from infra.manifest import Manifest
from tasks.execution import Run, inputs_of
from tasks.records import REFUSED, RESPONSE
from tasks.responses.engines import AnyEngine
from tasks.responses.existing import read_existing
from tasks.responses.programs import choose_workers
from tasks.responses.sampled_prompts import select_prompts
from tasks.responses.settings import Sampling
from tasks.rows.filling import Filling, Wanted
from tasks.rows.pool import make_lacking, read_sorted
from tasks.stage import Addressed, Step, stage

KEY = ["prompt_id", "sample_index"]


def response_rows(what: Sampling, inputs: Mapping[str, Sequence[Addressed]]) -> dict:
    """The identity of the rows: the model and the sampling settings, without the settings that only select rows."""
    # n is fixed: the number of samples does not identify a row. 5 is the value that the stored pools were named with.
    sampling = what.model_copy(update={"n": 5, "parts": (), "by_category": {}})
    return {"model": inputs["model"][0].fingerprint, "sampling": sampling}


@stage("per-model sampling", version="3", rows=response_rows)
def sample_responses(
    run: Run,
    what: Sampling,
    how: AnyEngine,
    prompts: tuple[Manifest],
    model: tuple[Manifest],
    splits: tuple[Manifest, ...] = (),
) -> None:
    if model[0].what.get("kind") == "existing":
        file, chosen = choose_prompts(run, what, prompts[0], splits)
        leave_artifact(run, read_existing(file, chosen, what.seed), {})
        return
    workers, prepare = choose_workers(run, how, model[0])
    wanted = [want_rows(run, step) for step in (run.step, *run.beside)]
    filling = Filling(run, wanted, KEY)
    job = {**wanted[0].job, "how": how.model_dump(mode="json")} | (prepare() if filling.lacking else {})
    try:
        make_lacking(run, filling, workers, job, exclusive=True)
    except BudgetReached:
        raise
    except BadInput as problem:
        raise SourceFailed(f"{run.step.label}: {problem}") from problem
    if run.share is None:
        leave_artifact(run, read_sorted(run, wanted[0].rows, KEY, RESPONSE, workers.module), token_prices(how))


def choose_prompts(
    run: Run, what: Sampling, prompts: Manifest, splits: Sequence[Manifest]
) -> tuple[Path, pd.DataFrame]:
    file = run.file(prompts, "prompts.parquet")
    return file, select_prompts(file, run.file(splits[0], "splits.parquet") if splits else None, what)


def want_rows(run: Run, step: Step) -> Wanted:
    """The rows that a sampling step wants: this run's step, or one beside it, which samples the same model."""
    given, what = inputs_of(step, run.store), cast("Sampling", step.what)
    file, chosen = choose_prompts(run, what, given["prompts"][0], given.get("splits", ()))
    rows = list_wanted(chosen, what, given["model"][0].fingerprint)
    return Wanted(cast("str", step.pool), rows, {"prompts": str(file), "what": what.model_dump(mode="json")})


def token_prices(how: AnyEngine) -> dict[str, float]:
    return {"prompt_tokens": how.price_in, "tokens": how.price_out} if how.kind == "endpoint" else {}


def leave_artifact(run: Run, tables: Iterable[pa.Table], price: dict[str, float]) -> None:
    """Writes the artifact's files table by table, and counts their contents."""
    counts: Counter[str] = Counter(tokens=0, cut_at_length=0)
    dollars, refused, total = 0.0, [], 0
    with pq.ParquetWriter(run.folder / "responses.parquet", RESPONSE, compression="zstd") as writer:
        for table in tables:
            rows = table.to_pandas()
            without = rows["finish_reason"].str.startswith(REFUSED)
            refused.append(rows[without])
            total += len(rows)
            writer.write_table(table.filter(pa.array(~without)))
            counts["tokens"] += int(rows["tokens"].sum())
            counts["cut_at_length"] += int((rows["finish_reason"] == "length").sum())
            counts.update(f"by {engine}" for engine in rows["engine"][~without])
            dollars += sum(float(rows[column].sum()) * each / 1e6 for column, each in price.items())
    if refusals := sum(len(rows) for rows in refused):
        counts["refused"] = refusals
        if refusals == total:
            reason = next(rows["finish_reason"].iloc[0] for rows in refused if len(rows))
            raise SourceFailed(f"{run.step.label}: none of {total} rows is a response; the first row was {reason}")
        table = pa.Table.from_pandas(pd.concat(refused), RESPONSE, preserve_index=False)
        pq.write_table(table, run.folder / "refused.parquet", compression="zstd")
    run.count(**counts, **({"dollars": round(dollars, 4)} if any(price.values()) else {}))


def list_wanted(prompts: pd.DataFrame, what: Sampling, model: str) -> pd.DataFrame:
    """One row per wanted response. Sorted by prompt length, so that a batch needs little padding; the samples of a prompt
    are adjacent, so that engines can share its prefix."""
    ordered = prompts.sort_values(["length", "prompt_id"])
    rows = ordered.loc[ordered.index.repeat(ordered["n"]), ["prompt_id"]].reset_index(drop=True)
    rows["sample_index"] = rows.groupby("prompt_id", sort=False).cumcount().astype("int32")
    rows["seed"] = [
        row_seed(what.seed, model, prompt, index)
        for prompt, index in zip(rows["prompt_id"], rows["sample_index"], strict=True)
    ]
    return rows


def row_seed(seed: int, model: str, prompt: str, index: int) -> int:
    """A seed for each response, different for each model and prompt. It does not depend on n, so n = 8 extends n = 5."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{model}\0{prompt}\0{index}".encode(), digest_size=6).digest())
