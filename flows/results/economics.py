"""What each source of a recipe adds and costs, from the stored responses and scores. Makes no rows and reads no text.

Equal texts have one score, as in the training pairs. All responses with a score count, also those that were cut off.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import BadInput
from infra.manifest import Manifest
from infra.settings import count_cores
from infra.store import Store
from tasks.economics.adaptive import replay_rules
from tasks.economics.advice import advise
from tasks.economics.jurors import compare_winners
from tasks.economics.rows import BestScores, ScoredRows, best_scores
from tasks.economics.sizes import curve_of_sizes
from tasks.economics.worth import weigh_sources
from tasks.pairs.candidates import read_candidates, with_one_score
from tasks.report.stage import Report
from tasks.stage import Step


def weigh_recipe(last: Step, store: Store) -> dict:
    """All numbers, as plain values for the terminal and the page. `last`: the recipe's report, made or not."""
    what = cast("Report", last.what)
    (prompts,) = find_all(last.inputs["prompts"], store)
    responses, scores = find_all(last.inputs["responses"], store), find_all(last.inputs["scores"], store)
    jury = find_all(last.inputs["jury"], store)
    table = pq.read_table(fetch_file(prompts, "prompts.parquet", store), columns=["prompt_id", "category"])
    ids = table["prompt_id"].combine_chunks()
    rows = read_rows(what.sources, responses, scores, ids, store)
    if not (~np.isnan(rows.score)).any():
        raise BadInput(f"{what.recipe['name']}: no response of a source has a score")
    dollars = [manifest.counts.get("dollars") for manifest in responses]
    categories = np.array([name or "" for name in table["category"].to_pylist()])
    found = weigh_rows(rows, categories, cast("list[float | None]", dollars))
    own = best_scores(rows)
    found["jury"] = []
    for place, juror in enumerate(what.jury):
        judged = jury[place * len(what.sources) : (place + 1) * len(what.sources)]
        score = read_rows(what.sources, responses, judged, ids, store).score
        found["jury"].append({"juror": juror, **weigh_by_juror(rows, own, score, found["dollars"])})
    return {"recipe": what.recipe["name"], **found}


def weigh_rows(rows: ScoredRows, categories: np.ndarray, dollars: list[float | None]) -> dict:
    """The numbers of one reward model: overall, by category, and by the number of samples."""
    scores, everything = best_scores(rows), rows.tokens_by_source(np.ones(rows.prompts, bool))
    share = lambda part: [
        None if money is None or not whole else money * int(some) / int(whole)
        for money, some, whole in zip(dollars, part, everything, strict=True)
    ]

    def weigh(kept: np.ndarray) -> dict:
        tokens = rows.tokens_by_source(kept)
        return weigh_sources(scores.take(kept), tokens, share(tokens), rows.names)

    kinds = categories[: rows.prompts]
    masks = {str(kind): scores.scored & (kinds == kind) for kind in np.unique(kinds)}
    overall = weigh(scores.scored)
    scored = number_scored(rows, scores)
    sizes = curve_of_sizes(scored)
    return {
        "overall": overall,
        "dollars": dollars,
        "responses": len(rows.score),
        "unscored": int(np.isnan(rows.score).sum()),
        "unanswered": int((~scores.scored).sum()) + len(categories) - rows.prompts,
        "sizes": sizes,
        "adaptive": replay_rules(scored),
        "sizes_by_source": {
            name: curve_of_sizes(rows.of_source(place))
            for place, name in enumerate(rows.names)
            if np.isfinite(scores.best[:, place]).any()
        },
        "categories": {kind: weigh(kept) for kind, kept in masks.items() if kept.any()} if len(masks) > 1 else {},
        "advice": advise(overall, sizes),
    }


def weigh_by_juror(rows: ScoredRows, own: BestScores, score: np.ndarray, dollars: list[float | None]) -> dict:
    """The same prompts as another reward model sees them, and how often both name the same winners."""
    scores = best_scores(replace(rows, score=score))
    both = own.scored & scores.scored
    if not both.any():
        return {"agreement": None, "overall": None}
    overall = weigh_sources(scores.take(both), rows.tokens_by_source(both), dollars, rows.names)
    return {"agreement": compare_winners(own.take(both), scores.take(both)), "overall": overall}


def number_scored(rows: ScoredRows, scores: BestScores) -> ScoredRows:
    """Only the prompts that have a score, numbered from 0."""
    kept, number = scores.scored[rows.prompt], np.cumsum(scores.scored) - 1
    return ScoredRows(rows.names, number[rows.prompt[kept]], rows.source[kept], rows.score[kept], rows.tokens[kept])


def read_rows(
    names: tuple[str, ...], responses: Sequence[Manifest], scores: Sequence[Manifest], ids: pa.Array, store: Store
) -> ScoredRows:
    def read(place: int) -> pd.DataFrame:
        said = fetch_file(responses[place], "responses.parquet", store)
        judged = fetch_file(scores[place], "scores.parquet", store)
        found = read_candidates(said, judged, None, place, ids).drop(columns=["row", "cut_off", "check"])
        return found.assign(tokens=found["tokens"].fillna(0).astype("int32"))

    with ThreadPoolExecutor(count_cores()) as threads:
        rows = pd.concat(list(threads.map(read, range(len(names)))), ignore_index=True)
    rows = with_one_score(rows)
    columns = (rows[name].to_numpy() for name in ("prompt", "source", "score", "tokens"))
    return ScoredRows(names, *columns)


def find_all(steps: Sequence[Step], store: Store) -> list[Manifest]:
    found = []
    for step in steps:
        manifest = store.manifest(step.stage.name, step.fingerprint)
        if manifest is None:
            raise BadInput(f"{step.label} {step.address} is not in the store yet; fuse run makes it")
        found.append(manifest)
    return found


def fetch_file(manifest: Manifest, name: str, store: Store) -> Path:
    return store.fetch(manifest, [name]) / name
