"""Collective answers: leaves `responses.parquet`, of each prompt the answer of several models that a reward model likes best.

The simplest way to use many models at once, without training and without new sampling: an oracle of the ranker.
"""

import pandas as pd
from pydantic import Field

from infra.store import Manifest
from tasks.execution import Run
from tasks.pool import write
from tasks.records import RESPONSE
from tasks.stage import How, What, stage

Manifests = tuple[Manifest, ...]


class Choosing(What):
    members: tuple[str, ...] = Field(min_length=2, description="names; of equal scores the first has it")


@stage("collective answers", version="1")
def choose_answers(run: Run, what: Choosing, how: How, responses: Manifests, scores: Manifests) -> None:
    said = [pd.read_parquet(run.file(made, "responses.parquet")) for made in responses]
    everyone = pd.concat([rows.assign(place=place) for place, rows in enumerate(said)], ignore_index=True)
    values = pd.read_parquet(run.file(scores[0], "scores.parquet"), columns=["content_id", "score"])
    ranked = everyone.merge(values, on="content_id", validate="many_to_one").sort_values(
        ["prompt_id", "score", "place"], ascending=[True, False, True]
    )
    best = ranked.drop_duplicates("prompt_id")
    owners = best["place"].value_counts()
    run.count(rows=len(best), **{f"from_{name}": int(owners.get(place, 0)) for place, name in enumerate(what.members)})
    write(run, best, RESPONSE, "responses.parquet")
