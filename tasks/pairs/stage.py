"""Training records from scored responses: `records.parquet` for SFT, `pairs.parquet` (triples) for WRPO.

Ties are broken by a written rule: score, then the order of the sources in the recipe, sample index, content id.
"""

import pandas as pd
from pydantic import Field

from infra.errors import BadInput
from infra.store import Manifest
from tasks.execution import Run
from tasks.pool import write
from tasks.records import PREFERENCE_RECORD, SFT_RECORD
from tasks.stage import How, What, stage

BEST_FIRST = ["score", "priority", "sample_index", "content_id"]


class BestOfSources(What):
    """SFT records: of each prompt of the SFT part, the response with the highest reward over all sources."""

    sources: tuple[str, ...] = Field(min_length=1, description="the sources' names, in the order that breaks ties")


class Triples(What):
    """WRPO's triples: y_ws the best response of all sources, y_wt and y_l the best and the worst of the SFT model's own."""

    sources: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(0.0, ge=0, description="own best must score above own worst by more than this")


Manifests = tuple[Manifest, ...]


@stage("SFT records", version="1")
def build_sft_records(
    run: Run,
    what: BestOfSources,
    how: How,
    prompts: Manifests,
    splits: Manifests,
    responses: Manifests,
    scores: Manifests,
) -> None:
    candidates = scored(run, what.sources, responses, scores)
    best = candidates.sort_values(BEST_FIRST, ascending=[False, True, True, True]).drop_duplicates("prompt_id")
    records = part(run, "sft", prompts, splits).merge(best, on="prompt_id", how="left", validate="one_to_one")
    answered = records[records["text"].notna()].rename(columns={"text": "response"})
    if answered.empty:
        raise BadInput("sft: no prompt of the SFT part has a scored response")
    run.count(rows=len(answered), dropped_without_response=len(records) - len(answered))
    write(run, answered, SFT_RECORD, "records.parquet")


@stage("pairs", version="1")
def build_pairs(
    run: Run,
    what: Triples,
    how: How,
    prompts: Manifests,
    splits: Manifests,
    responses: Manifests,
    scores: Manifests,
    own_responses: Manifests,
    own_scores: Manifests,
) -> None:
    sources = scored(run, what.sources, responses, scores).sort_values(BEST_FIRST, ascending=[False, True, True, True])
    own = scored(run, ("own",), own_responses, own_scores).sort_values(BEST_FIRST, ascending=[False, True, True, True])
    triples = (
        part(run, "preference", prompts, splits)
        .merge(named(sources.drop_duplicates("prompt_id"), "source_best", ["source"]), on="prompt_id", how="left")
        .merge(named(own.drop_duplicates("prompt_id"), "own_best"), on="prompt_id", how="left")
        .merge(named(own.drop_duplicates("prompt_id", keep="last"), "own_worst"), on="prompt_id", how="left")
    )
    kept = triples[keep(run, triples, what.margin)]
    if kept.empty:
        raise BadInput(
            f"pairs.margin: none of the {len(triples)} prompts of the preference part leaves a triple; "
            f"counted {run.counts}"
        )
    run.count(rows=len(kept), source_beats_own=int((kept["source_best_score"] > kept["own_best_score"]).sum()))
    absent = {"worst_source": None, "source_worst": None, "source_worst_score": None}
    write(run, kept.assign(**absent), PREFERENCE_RECORD, "pairs.parquet")


def keep(run: Run, triples: pd.DataFrame, margin: float) -> pd.Series:
    """Which prompts can teach something; every other is counted under its reason."""
    incomplete = triples[["source_best", "own_best", "own_worst"]].isna().any(axis=1)
    equal = ~incomplete & (triples["own_best"] == triples["own_worst"])
    flat = ~incomplete & ~equal & ~(triples["own_best_score"] - triples["own_worst_score"] > margin)
    run.count(
        dropped_without_response=int(incomplete.sum()),
        dropped_own_responses_equal=int(equal.sum()),
        dropped_no_margin=int(flat.sum()),
    )
    return ~(incomplete | equal | flat)


def scored(run: Run, names: tuple[str, ...], responses: Manifests, scores: Manifests) -> pd.DataFrame:
    """All responses of the named models with their scores; a model's place in the list is its priority.

    The same words have one score, the first: two batches may differ in the last bits, and ties must not depend on them.
    """
    columns = ["content_id", "score"]
    values = pd.concat([pd.read_parquet(run.file(judged, "scores.parquet"), columns=columns) for judged in scores])
    values, tables = values.drop_duplicates("content_id"), []
    for priority, (name, made) in enumerate(zip(names, responses, strict=True)):
        rows = pd.read_parquet(
            run.file(made, "responses.parquet"), columns=["prompt_id", "sample_index", "text", "content_id"]
        )
        tables.append(
            rows.merge(values, on="content_id", validate="many_to_one").assign(source=name, priority=priority)
        )
    return pd.concat(tables, ignore_index=True)


def part(run: Run, name: str, prompts: Manifests, splits: Manifests) -> pd.DataFrame:
    """The prompts of one part of the split, in the order of their ids."""
    parts = pd.read_parquet(run.file(splits[0], "splits.parquet"))
    rows = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages"])
    return rows[rows["prompt_id"].isin(parts.loc[parts["part"] == name, "prompt_id"])]


def named(rows: pd.DataFrame, name: str, also: list[str] | None = None) -> pd.DataFrame:
    return rows[["prompt_id", "text", "score", *(also or [])]].rename(columns={"text": name, "score": f"{name}_score"})
