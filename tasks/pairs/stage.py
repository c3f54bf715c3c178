"""Training records from scored responses: `records.parquet` for SFT, `pairs.parquet` for preference optimisation.

The rules stand in `rules.py`, what they choose in `selection.py`, where it is read in `evidence.py`.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.execution import Run
from tasks.pairs.candidates import write
from tasks.pairs.evidence import Evidence, apply, gather, part
from tasks.pairs.rules import Given, PairRule, RecordRule, Rule
from tasks.pairs.selection import Selection
from tasks.records import CUT_OFF, PREFERENCE_RECORD, SFT_RECORD
from tasks.stage import How, What, stage

Manifests = tuple[Manifest, ...]


class SftRecords(What):
    """SFT records of the SFT part of the prompts."""

    sources: tuple[str, ...] = Field(description="names of the given responses' models, in the order that breaks ties")
    rule: RecordRule


class Pairs(What):
    """Preference records of the preference part of the prompts."""

    sources: tuple[str, ...] = Field(description="names of the given responses' models, in the order that breaks ties")
    rule: PairRule


@stage("SFT records", version="3")
def build_sft_records(
    run: Run,
    what: SftRecords,
    how: How,
    prompts: Manifests,
    splits: Manifests,
    responses: Manifests = (),
    scores: Manifests = (),
    checks: Manifests = (),
) -> None:
    """`checks`: of each source's responses which are correct (1) and which are not (0), in the shape of scores."""
    refuse_unchecked("records", what.rule, checks)
    with_response = any(isinstance(rule, Given) for rule in what.rule.each())
    evidence = gather(run, part(run, "sft", prompts, splits, with_response), what.sources, (responses, scores, checks))
    selection = settled(run, "records: no prompt of the SFT part leaves a record", apply(what.rule, evidence))
    records = sft_records(evidence, selection)
    count_cut_off(run, records, {"finish_reason": "response"})
    write(records, SFT_RECORD, run.folder / "records.parquet")


@stage("pairs", version="4")
def build_pairs(
    run: Run,
    what: Pairs,
    how: How,
    prompts: Manifests,
    splits: Manifests = (),
    responses: Manifests = (),
    scores: Manifests = (),
    checks: Manifests = (),
    own_responses: Manifests = (),
    own_scores: Manifests = (),
) -> None:
    """Without `splits`: pairs of all prompts. `own_…`: responses of the SFT model itself. `checks`: as for SFT records."""
    refuse_unchecked("pairs", what.rule, checks)
    asked = part(run, "preference", prompts, splits)
    evidence = gather(run, asked, what.sources, (responses, scores, checks), (own_responses, own_scores))
    selection = settled(run, "pairs: no prompt of the preference part leaves a record", apply(what.rule, evidence))
    if {"source_best", "own_best"} <= selection.chosen.keys():
        ahead = selection.chosen["source_best"]["score"] > selection.chosen["own_best"]["score"]
        run.count(source_beats_own=int((ahead & selection.kept).sum()))
    records = preference_records(evidence, selection)
    count_cut_off(run, records, {f"{role}_finish_reason": role for role in selection.chosen})
    write(records, PREFERENCE_RECORD, run.folder / "pairs.parquet")


def refuse_unchecked(field: str, rule: Rule, checks: Manifests) -> None:
    for one in rule.each():
        if one.reads_checks and not checks:
            raise BadInput(
                f"{field}.kind: {one.kind!r} asks which responses are correct, and no checks of them are given"
            )


def settled(run: Run, nothing: str, selection: Selection) -> Selection:
    run.count(rows=int(selection.kept.sum()), **selection.counts)
    if not selection.kept.any():
        raise BadInput(f"{nothing}; counted {run.counts}")
    return selection


def count_cut_off(run: Run, records: pa.Table, columns: dict[str, str]) -> None:
    """In how many records the response of a role was cut off: it is learned without an end token."""
    cut = {role: pc.sum(pc.equal(records[column], CUT_OFF)).as_py() or 0 for column, role in columns.items()}
    run.count(**{f"cut_off_{role}": number for role, number in cut.items()})


def sft_records(evidence: Evidence, selection: Selection) -> pa.Table:
    columns, places = of_prompts(evidence, selection)
    best = selection.chosen["best"].iloc[places]
    (response,), (finish_reason,) = evidence.fetch("text", best), evidence.fetch("finish_reason", best)
    source = named(evidence, best["source"])
    if "response" in evidence.prompts.column_names:
        came = evidence.prompts["response"].take(places).cast(pa.large_string())
        response, source = pc.coalesce(response, came), pc.coalesce(source, pa.scalar("given"))
    said = {"response": response, "source": source, "score": numbers(best["score"]), "finish_reason": finish_reason}
    return pa.table({**columns, **said})


def preference_records(evidence: Evidence, selection: Selection) -> pa.Table:
    """A column per role; null throughout where no rule of the recipe fills it."""
    columns, places = of_prompts(evidence, selection)
    rows = {role: chosen.iloc[places] for role, chosen in selection.chosen.items()}
    texts = dict(zip(rows, evidence.fetch("text", *rows.values()), strict=True))
    reasons = zip(rows, evidence.fetch("finish_reason", *rows.values()), strict=True)
    ends = {f"{role}_finish_reason": reason for role, reason in reasons}
    scores = {f"{role}_score": numbers(chosen["score"]) for role, chosen in rows.items()}
    writers = {
        name: named(evidence, rows[role]["source"])
        for name, role in (("source", "source_best"), ("worst_source", "source_worst"))
        if role in rows
    }
    return pa.table({**columns, **texts, **scores, **ends, **writers})


def of_prompts(evidence: Evidence, selection: Selection) -> tuple[dict[str, pa.ChunkedArray], np.ndarray]:
    places = np.flatnonzero(selection.kept)
    return {name: evidence.prompts[name].take(places) for name in ("prompt_id", "messages")}, places


def named(evidence: Evidence, source: pd.Series) -> pa.Array:
    """The names of the sources by number, null for -1."""
    number = source.to_numpy()
    return pa.array(evidence.names, pa.string()).take(pa.array(number, mask=number < 0))


def numbers(score: pd.Series) -> pa.Array:
    """Null where there is none."""
    return pa.array(score.to_numpy(), pa.float64(), from_pandas=True)
