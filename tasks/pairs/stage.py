"""The stages that build training records: `records.parquet` for SFT, `pairs.parquet` for preference optimisation.

`rules.py` has the rules' settings, `evidence.py` reads the inputs, `selection.py` chooses the responses.
"""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from pydantic import Field

from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.execution import Run
from tasks.pairs.candidates import write_rows
from tasks.pairs.evidence import Evidence, apply_rule, gather_evidence, read_part_prompts
from tasks.pairs.rules import GivenResponse, PairRule, RecordRule, Rule
from tasks.pairs.selection import Selection
from tasks.records import CUT_OFF, PREFERENCE_RECORD, SFT_RECORD
from tasks.stage import How, What, stage

pc: Any = pyarrow.compute  # it makes its functions at import, where no type checker sees them
Manifests = tuple[Manifest, ...]


class SftRecords(What):
    """Settings of the SFT records, which are built from the SFT part of the prompts."""

    sources: tuple[str, ...] = Field(description="names of the models of the responses, in the order that breaks ties")
    rule: RecordRule


class Pairs(What):
    """Settings of the preference records, which are built from the preference part of the prompts."""

    sources: tuple[str, ...] = Field(description="names of the models of the responses, in the order that breaks ties")
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
    """Builds SFT records. `checks`: for each source, which responses are correct (1) or incorrect (0), as a file of scores."""
    refuse_unchecked("records", what.rule, checks)
    with_response = any(isinstance(rule, GivenResponse) for rule in what.rule.each())
    evidence = gather_evidence(
        run, read_part_prompts(run, "sft", prompts, splits, with_response), what.sources, (responses, scores, checks)
    )
    selection = settle_selection(
        run, "records: no prompt of the SFT part makes a record", apply_rule(what.rule, evidence)
    )
    records = sft_records(evidence, selection)
    count_cut_off(run, records, {"finish_reason": "response"})
    write_rows(records, SFT_RECORD, run.folder / "records.parquet")


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
    """Builds preference records; without `splits`, for all prompts. `own_…`: responses of the SFT model. `checks`: as for SFT
    records."""
    refuse_unchecked("pairs", what.rule, checks)
    selected = read_part_prompts(run, "preference", prompts, splits)
    evidence = gather_evidence(run, selected, what.sources, (responses, scores, checks), (own_responses, own_scores))
    selection = settle_selection(
        run, "pairs: no prompt of the preference part makes a pair", apply_rule(what.rule, evidence)
    )
    if {"source_best", "own_best"} <= selection.chosen.keys():
        ahead = selection.chosen["source_best"]["score"] > selection.chosen["own_best"]["score"]
        run.count(source_beats_own=int((ahead & selection.kept).sum()))
    records = preference_records(evidence, selection)
    count_cut_off(run, records, {f"{role}_finish_reason": role for role in selection.chosen})
    write_rows(records, PREFERENCE_RECORD, run.folder / "pairs.parquet")


def refuse_unchecked(field: str, rule: Rule, checks: Manifests) -> None:
    for single in rule.each():
        if single.reads_checks and not checks:
            raise BadInput(
                f"{field}.kind: {single.kind!r} needs checks of the responses, but the recipe has no [checks]"
            )


def settle_selection(run: Run, message: str, selection: Selection) -> Selection:
    run.count(rows=int(selection.kept.sum()), **selection.counts)
    if not selection.kept.any():
        raise BadInput(f"{message}; the counts are {run.counts}")
    return selection


def count_cut_off(run: Run, records: pa.Table, columns: dict[str, str]) -> None:
    """Counts the records whose response in a role was cut off; such a response is trained without an end token."""
    cut = {role: pc.sum(pc.equal(records[column], CUT_OFF)).as_py() or 0 for column, role in columns.items()}
    run.count(**{f"cut_off_{role}": number for role, number in cut.items()})


def sft_records(evidence: Evidence, selection: Selection) -> pa.Table:
    columns, places = of_prompts(evidence, selection)
    best = selection.chosen["best"].iloc[places]
    (response,), (finish_reason,) = evidence.fetch("text", best), evidence.fetch("finish_reason", best)
    source = name_sources(evidence, best["source"])
    if "response" in evidence.prompts.column_names:
        existing = evidence.prompts["response"].take(places).cast(pa.large_string())
        response, source = pc.coalesce(response, existing), pc.coalesce(source, pa.scalar("given"))
    chosen = {
        "response": response,
        "source": source,
        "score": score_column(best["score"]),
        "finish_reason": finish_reason,
    }
    return pa.table({**columns, **chosen})


def preference_records(evidence: Evidence, selection: Selection) -> pa.Table:
    """The preference records, with a column per role."""
    columns, places = of_prompts(evidence, selection)
    rows = {role: chosen.iloc[places] for role, chosen in selection.chosen.items()}
    texts = dict(zip(rows, evidence.fetch("text", *rows.values()), strict=True))
    reasons = zip(rows, evidence.fetch("finish_reason", *rows.values()), strict=True)
    ends = {f"{role}_finish_reason": reason for role, reason in reasons}
    scores = {f"{role}_score": score_column(chosen["score"]) for role, chosen in rows.items()}
    writers = {
        name: name_sources(evidence, rows[role]["source"])
        for name, role in (("source", "source_best"), ("worst_source", "source_worst"))
        if role in rows
    }
    return pa.table({**columns, **texts, **scores, **ends, **writers})


def of_prompts(evidence: Evidence, selection: Selection) -> tuple[dict[str, pa.ChunkedArray], np.ndarray]:
    places = np.flatnonzero(selection.kept)
    return {name: evidence.prompts[name].take(places) for name in ("prompt_id", "messages")}, places


def name_sources(evidence: Evidence, source: pd.Series) -> pa.Array:
    """The names of the sources by number, null for -1."""
    number = source.to_numpy()
    return pa.array(evidence.names, pa.string()).take(pa.array(number, mask=number < 0))


def score_column(score: pd.Series) -> pa.Array:
    """Scores as an array; null for a missing score."""
    return pa.array(score.to_numpy(), pa.float64(), from_pandas=True)
