"""The stages "reference log-probs" and "WRPO".

The first writes `reference.parquet`, the SFT model's log-probability of every response; all objectives on these pairs share
it. The second trains the SFT model on the pairs; it writes `model/`, `steps.parquet` (reward dynamics) and `speed.parquet`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from infra.manifest import Manifest
from tasks.execution import Run
from tasks.records import CUT_OFF, LOG_PROB, learned_id
from tasks.rows.pool import fill_pool, write_table
from tasks.stage import Addressed, stage
from tasks.training.resumable import train_resumably
from tasks.training.settings import TrainingHow
from tasks.training.truncation import refuse_none
from tasks.wrpo.settings import ROLES, Objective, ReferenceSettings, objective_terms

Manifests = tuple[Manifest, ...]


class WRPOHow(TrainingHow):
    layout: Literal["shared-prompt", "padded"] = Field(
        default="shared-prompt",
        description="shared-prompt: computes each prompt once for all its responses; padded: with each response; the results"
        " are equal",
    )


def reference_pool(what: ReferenceSettings, inputs: Mapping[str, Sequence[Addressed]]) -> dict:
    """The pool's key. It does not contain the pairs, because a response's log-probability does not depend on them."""
    return {"model": inputs["model"][0].fingerprint, "read": what}


@stage("reference log-probs", version="3", rows=reference_pool)
def compute_reference(run: Run, what: ReferenceSettings, how: WRPOHow, model: Manifests, pairs: Manifests) -> None:
    rows = fill_pool(
        run,
        distinct_responses(pd.read_parquet(run.file(pairs[0], "pairs.parquet"))),
        ["content_id"],
        LOG_PROB,
        "tasks.wrpo.reference",
        {"model": str(run.model(model[0])), "what": what.model_dump(mode="json"), "how": how.model_dump(mode="json")},
        group=how.group if how.processes > 1 or how.splits_weights else 0,
        restarts=how.restarts,
    )
    if run.share:
        return
    read = rows[rows["tokens"] > 0]
    refuse_none(len(read), len(rows), what.max_length)
    bad = read[~np.isfinite(read["log_prob"].astype(float))]
    if len(bad):
        raise RuntimeError(
            f"{len(bad)} log-probs are not finite; the first is that of content {bad['content_id'].iloc[0]}"
        )
    run.count(tokens=int(rows["tokens"].sum()), left_out=len(rows) - len(read))
    write_table(run, rows.sort_values("content_id"), LOG_PROB, "reference.parquet")


def distinct_responses(pairs: pd.DataFrame) -> pd.DataFrame:
    """Every distinct response of the pairs, in any role, grouped by prompt."""
    prompts = pairs[["prompt_id", "messages"]]
    responses = pd.concat(
        [prompts.assign(text=pairs[role], finish_reason=pairs[f"{role}_finish_reason"]) for role in ROLES]
    ).dropna(subset="text")
    words = zip(responses["prompt_id"], responses["text"], responses["finish_reason"] == CUT_OFF, strict=True)
    responses["content_id"] = [learned_id(*one) for one in words]
    return responses.drop_duplicates("content_id").sort_values(["prompt_id", "content_id"])


@stage("WRPO", version="3")
def train_wrpo(
    run: Run, what: Objective, how: WRPOHow, model: Manifests, pairs: Manifests, reference: Manifests = ()
) -> None:
    objective = objective_terms(what)
    settings = what.model_dump(mode="json", exclude={"seed", "objective", *objective})
    out = train_resumably(
        run,
        "tasks.wrpo.train",
        {
            "model": str(run.model(model[0])),
            "pairs": [str(run.file(pairs[0], "pairs.parquet"))],
            "reference": [str(run.file(made, "reference.parquet")) for made in reference],
            "what": {**settings, "objective": {"kind": what.objective, **objective}},
            "how": how.model_dump(mode="json"),
            "seed": what.seed,
        },
        how.group,
        how.restarts,
    )
    run.keep(out, "model", "steps.parquet", "speed.parquet")
