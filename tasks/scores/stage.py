"""Reward annotation: leaves `scores.parquet`, the reward model's score of every distinct response, sorted by content id."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from infra.store import Manifest
from tasks.execution import Run
from tasks.pool import fill, write
from tasks.records import SCORE
from tasks.stage import Addressed, How, What, digest, stage

Manifests = tuple[Manifest, ...]


class Scoring(What):
    """How a reward model reads a response: prompt and response in the model's own chat template."""

    kind: Literal["sequence-classifier"]
    max_length: int = Field(4096, gt=0, description="a longer response is cut at its end and its row says truncated")
    parts: tuple[str, ...] = Field(
        (), description="only responses to prompts of these parts of the split; empty: to all"
    )
    samples: int | None = Field(None, gt=0, description="only the first so many samples of a prompt; none: all")

    def on(self, part: str) -> "Scoring":
        """The same, for the first response to each prompt of one part."""
        return self.model_copy(update={"parts": (part,), "samples": 1})


class ScoringHow(How):
    batch_size: int = Field(64, gt=0)
    batches_per_part: int = Field(8, gt=0)


def pool_of(what: Scoring, inputs: Mapping[str, Sequence[Addressed]]) -> str:
    """Rows of one sampled model stand apart, so that several can be scored at once; those of many models together."""
    alone = [item.fingerprint for item in inputs.get("model", ())]
    scoring = what.model_dump(exclude={"parts", "samples"})
    return f"scores/{digest({'reward': inputs['reward'][0].fingerprint, 'scoring': scoring, 'model': alone, 'version': '1'})}"


@stage("reward annotation", version="1", pool=pool_of)
def annotate_rewards(
    run: Run,
    what: Scoring,
    how: ScoringHow,
    prompts: Manifests,
    reward: Manifests,
    responses: Manifests,
    model: Manifests = (),
    splits: Manifests = (),
) -> None:
    texts = pd.concat([chosen(run, what, made, splits) for made in responses]).drop_duplicates("content_id")
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


def chosen(run: Run, what: Scoring, responses: Manifest, splits: Manifests) -> pd.DataFrame:
    """The responses that are to be scored."""
    rows = pd.read_parquet(
        run.file(responses, "responses.parquet"), columns=["prompt_id", "sample_index", "text", "content_id"]
    )
    if what.samples is not None:
        rows = rows[rows["sample_index"] < what.samples]
    if what.parts:
        parts = pd.read_parquet(run.file(splits[0], "splits.parquet"))
        rows = rows[rows["prompt_id"].isin(parts.loc[parts["part"].isin(what.parts), "prompt_id"])]
    return rows.drop(columns="sample_index")


def refuse_bad(rows: pd.DataFrame) -> None:
    bad = rows[~np.isfinite(rows["score"].astype(float))]
    if len(bad):
        raise RuntimeError(f"{len(bad)} scores are not finite, the first of content {bad['content_id'].iloc[0]}")
