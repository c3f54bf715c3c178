"""Reward annotation: leaves `scores.parquet`, the reward model's score of every distinct response, sorted by content id."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from infra.errors import BadInput
from infra.store import Manifest
from tasks.execution import Run
from tasks.pool import fill, write
from tasks.records import SCORE
from tasks.stage import Addressed, How, What, stage

Manifests = tuple[Manifest, ...]


class Scoring(What):
    """How a reward model reads a response: prompt and response in the model's own chat template."""

    kind: Literal["sequence-classifier"]
    max_length: int = Field(4096, gt=0, description="a longer response is cut at its end and its row says truncated")


class ScoringHow(How):
    batch_size: int = Field(64, gt=0, le=65_536)
    batches_per_part: int = Field(8, gt=0)


def same_rows(what: Scoring, inputs: Mapping[str, Sequence[Addressed]]) -> dict:
    """Rows of one sampled model stand apart, so that several can be scored at once; those of many models together."""
    alone = [item.fingerprint for item in inputs.get("model", ())]
    return {"reward": inputs["reward"][0].fingerprint, "scoring": what, "model": alone}


@stage("reward annotation", version="1", rows=same_rows)
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
    texts = pd.concat(said).drop_duplicates("content_id")
    messages = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages"])
    wanted = texts.merge(messages, on="prompt_id", validate="many_to_one")
    wanted = wanted.assign(length=wanted["text"].str.len()).sort_values(["length", "content_id"]).drop(columns="length")
    rows = fill(
        run,
        wanted,
        ["content_id"],
        SCORE,
        "tasks.scores.score",
        {"model": str(run.model(reward[0])), "what": what.model_dump(mode="json"), "how": how.model_dump(mode="json")},
    )
    refuse_bad(rows)
    run.count(tokens=int(rows["tokens"].sum()), truncated=int(rows["truncated"].sum()))
    write(run, rows.sort_values("content_id"), SCORE, "scores.parquet")


def refuse_bad(rows: pd.DataFrame) -> None:
    bad = rows[~np.isfinite(rows["score"].astype(float))]
    if len(bad):
        raise BadInput(f"{len(bad)} scores are not finite, the first of content {bad['content_id'].iloc[0]}")
