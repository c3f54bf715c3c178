"""Reward annotation: writes `scores.parquet`, the reward model's score of every distinct response, sorted by content id.

A response without a score has a row too, with the reason.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd

from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.execution import Run
from tasks.records import SCORE
from tasks.rows.pool import fill_pool, write_table
from tasks.scores.settings import PROGRAMS, Scoring, ScoringHow
from tasks.stage import Addressed, stage

Manifests = tuple[Manifest, ...]


def score_rows(what: Scoring, inputs: Mapping[str, Sequence[Addressed]]) -> dict:
    """The pool's key. Each sampled model has a separate pool, because several are scored at once; inputs of many models share
    one."""
    model = [item.fingerprint for item in inputs.get("model", ())]
    return {"reward": inputs["reward"][0].fingerprint, "scoring": what, "model": model}


def count_gpus(what: Scoring, how: ScoringHow) -> int:
    """1 except for endpoints; a user's program may need a GPU too."""
    return 0 if what.kind == "endpoint" else 1


@stage("reward annotation", version="3", rows=score_rows, gpus=count_gpus)
def annotate_rewards(
    run: Run,
    what: Scoring,
    how: ScoringHow,
    prompts: Manifests,
    reward: Manifests,
    responses: Manifests,
    model: Manifests = (),
) -> None:
    columns = ["prompt_id", "text", "content_id"]
    texts = [pd.read_parquet(run.file(made, "responses.parquet"), columns=columns) for made in responses]
    questions = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages", "gold"])
    wanted = pd.concat(texts).drop_duplicates("content_id").merge(questions, on="prompt_id", validate="many_to_one")
    rows = fill_pool(
        run,
        order_by_length(wanted, how.layout),
        ["content_id"],
        SCORE,
        PROGRAMS[what.kind],
        {"model": str(run.model(reward[0])), "what": what.model_dump(mode="json"), "how": how.model_dump(mode="json")},
        workers=how.workers,
        restarts=how.restarts,
    )
    if run.share:
        return
    refuse_bad_scores(rows)
    run.count(
        tokens=int(rows["tokens"].sum()),
        truncated=int(rows["truncated"].sum()),
        unscored=int(rows["score"].isna().sum()),
    )
    write_table(run, rows.sort_values("content_id"), SCORE, "scores.parquet")


def order_by_length(wanted: pd.DataFrame, layout: str) -> pd.DataFrame:
    """Sorts rows by length. With the shared-prompt layout, a prompt's responses stay together. `prompt_id` must be the
    first column: fill_pool uses it to assign rows to programs."""
    length = wanted["text"].str.len()
    prompt = wanted["messages"].map(lambda turns: sum(len(turn["content"]) for turn in cast("list[dict]", turns)))
    by = [prompt, wanted["prompt_id"], length] if layout == "shared-prompt" else [prompt + length]
    return wanted.iloc[np.lexsort([wanted["content_id"], *reversed(by)])]


def refuse_bad_scores(rows: pd.DataFrame) -> None:
    """Raises BadInput for a score that is not finite and has no reason, or if no row has a score."""
    bad = rows[~np.isfinite(rows["score"].astype(float)) & rows["reason"].isna()]
    if len(bad):
        raise BadInput(f"{len(bad)} scores are not finite; the first is that of content {bad['content_id'].iloc[0]}")
    if len(rows) and rows["score"].isna().all():
        raise BadInput(
            f"reward: none of {len(rows)} responses has a score; reason of the first: {rows['reason'].iloc[0]}"
        )
