"""Reward annotation: leaves `scores.parquet`, the reward model's score of every distinct response, sorted by content id.

What has no score stands there too, with the reason.
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
    """Rows of one sampled model stand apart, so that several can be scored at once; those of many models together."""
    alone = [item.fingerprint for item in inputs.get("model", ())]
    return {"reward": inputs["reward"][0].fingerprint, "scoring": what, "model": alone}


def count_gpus(what: Scoring, how: ScoringHow) -> int:
    """A program of the user's own may need one too."""
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
    said = [pd.read_parquet(run.file(made, "responses.parquet"), columns=columns) for made in responses]
    asked = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages", "gold"])
    wanted = pd.concat(said).drop_duplicates("content_id").merge(asked, on="prompt_id", validate="many_to_one")
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
    """By length, and where a prompt is computed once, its responses together. The prompt's id comes first: by it rows are
    dealt out to several programs."""
    length = wanted["text"].str.len()
    prompt = wanted["messages"].map(lambda turns: sum(len(turn["content"]) for turn in cast("list[dict]", turns)))
    by = [prompt, wanted["prompt_id"], length] if layout == "shared-prompt" else [prompt + length]
    return wanted.iloc[np.lexsort([wanted["content_id"], *reversed(by)])]


def refuse_bad_scores(rows: pd.DataFrame) -> None:
    """A score is a number, or there is a reason why it is none."""
    bad = rows[~np.isfinite(rows["score"].astype(float)) & rows["reason"].isna()]
    if len(bad):
        raise BadInput(f"{len(bad)} scores are not finite, the first of content {bad['content_id'].iloc[0]}")
    if len(rows) and rows["score"].isna().all():
        raise BadInput(
            f"reward: none of {len(rows)} responses has a score, the first because: {rows['reason'].iloc[0]}"
        )
