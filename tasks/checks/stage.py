"""Reward checks: writes `scores.parquet`, with a score of 1 (correct), 0 (not correct) or null for every distinct response.

Responses are checked against the prompt's gold: a right answer, or tests. A response that could not be checked also has a row,
with the reason.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
from pydantic import Field

from infra.launch import Environment
from infra.manifest import Manifest
from tasks.execution import Run
from tasks.records import CHECK
from tasks.rows.pool import fill_pool, write_table
from tasks.stage import Addressed, SharedHow, What, stage

Manifests = tuple[Manifest, ...]
WITHOUT = {"kind": "none", "verdict": "unchecked", "passed": 0, "total": 0, "reason": "the prompt has no gold"}


class Checking(What):
    """How responses are checked, and the limits of a check. A program that exceeds its time is not correct."""

    kind: Literal["by-gold", "exact"] = Field(
        default="by-gold",
        description="by-gold: tests are run, any other gold is compared as mathematics; exact: a response is correct if "
        "it is the gold's text, apart from white space around it",
    )
    seconds: float = Field(default=10.0, gt=0, le=600, description="for all tests of one response")
    memory_megabytes: int = Field(default=1024, ge=64, description="for the program of a response")
    packages: tuple[str, ...] = Field(
        default=(), description="that programs and their tests may import, such as numpy; installed where checks run"
    )
    answer_seconds: float = Field(
        default=5.0, gt=0, description="for the comparison of one answer; beyond it neither right nor wrong"
    )


class CheckingHow(SharedHow):
    batch_size: int = Field(default=256, gt=0, description="responses between two commits: what a kill may cost")
    sandboxes: tuple[Literal["bubblewrap", "namespaces", "landlock"], ...] = Field(
        default=("bubblewrap", "namespaces", "landlock"),
        min_length=1,
        description="the first that holds on the machine is taken",
    )
    restarts: int = Field(default=2, ge=0, description="number of times that a program that dies is restarted")


def check_rows_identity(what: Checking, inputs: Mapping[str, Sequence[Addressed]]) -> dict:
    """The identity of the rows: the settings and the sampled model. The gold is part of each row's key."""
    return {"checking": what, "model": inputs["model"][0].fingerprint}


@stage("reward checks", version="5", rows=check_rows_identity)
def check_responses(
    run: Run, what: Checking, how: CheckingHow, prompts: Manifests, model: Manifests, responses: Manifests
) -> None:
    texts = pd.read_parquet(run.file(responses[0], "responses.parquet"), columns=["prompt_id", "text", "content_id"])
    golds = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "gold"])
    asked = texts.drop_duplicates("content_id").merge(golds, on="prompt_id", validate="many_to_one")
    there = asked["gold"].fillna("").str.strip() != ""
    rows = asked.loc[~there, ["content_id"]].assign(**WITHOUT).reindex(columns=CHECK.names)
    if there.any():
        columns = ["content_id", "text", "gold"]  # fill_pool assigns rows to programs by the first
        wanted = asked.loc[there, columns].sort_values("content_id")
        wanted = wanted.assign(gold_id=[hashlib.sha256(gold.encode()).hexdigest()[:40] for gold in wanted["gold"]])
        job = {"what": what.model_dump(mode="json"), "how": how.model_dump(mode="json")}
        made = fill_pool(
            run,
            wanted,
            ["content_id", "gold_id"],
            CHECK,
            "tasks.checks.check",
            job,
            environment=Environment(closed=True),
            workers=how.workers,
            restarts=how.restarts,
        )
        rows = pd.concat([made, rows], ignore_index=True)
    if run.share:
        return
    run.count(rows=len(rows), **{str(name): int(number) for name, number in rows["verdict"].value_counts().items()})
    write_table(run, rows.sort_values("content_id"), CHECK, "scores.parquet")
