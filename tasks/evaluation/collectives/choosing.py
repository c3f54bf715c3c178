"""Collective answers: leaves `responses.parquet`, of each prompt the answer of one of several models, chosen without sampling.

Chosen by a reward model that scores the answers (the oracle of a ranker), by the pairs that an answer wins before a judge, or
by how little the prompt surprises each model (PackLLM's Top1-PPL, arXiv 2404.11531): `perplexity.parquet` of a model.
"""

import pandas as pd
from pydantic import Field

from infra.manifest import Manifest
from tasks.evaluation.collectives.pairwise import copeland
from tasks.execution import Run
from tasks.records import RESPONSE
from tasks.rows.pool import write
from tasks.stage import How, What, stage

Manifests = tuple[Manifest, ...]


class SurpriseHow(How):
    batch_size: int = Field(8, gt=0)

    @property
    def gpus(self) -> int:
        return 1


@stage("prompt perplexity", version="1")
def measure_surprise(
    run: Run, what: What, how: SurpriseHow, prompts: Manifests, model: Manifests, splits: Manifests = ()
) -> None:
    rows = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages"])
    if splits:  # then the held-out ones alone are answered
        parts = pd.read_parquet(run.file(splits[0], "splits.parquet"))
        rows = rows[rows["prompt_id"].isin(parts.loc[parts["part"] == "held_out", "prompt_id"])]
    rows["text"] = ["\n".join(turn["content"] for turn in turns) for turns in rows["messages"]]
    asked = run.scratch / "prompts.parquet"
    rows[["prompt_id", "text"]].to_parquet(asked, index=False)
    job = {"model": str(run.model(model[0])), "rows": str(asked), "batch_size": how.batch_size}
    run.keep(run.program("tasks.evaluation.collectives.perplexity", job), "perplexity.parquet")


class Choosing(What):
    members: tuple[str, ...] = Field(min_length=2, description="names; of equal ones the first has it")


@stage("collective answers", version="1")
def choose_answers(
    run: Run,
    what: Choosing,
    how: How,
    responses: Manifests,
    scores: Manifests = (),
    surprises: Manifests = (),
    comparisons: Manifests = (),
) -> None:
    said = [pd.read_parquet(run.file(made, "responses.parquet")) for made in responses]
    everyone = pd.concat([rows.assign(place=place) for place, rows in enumerate(said)], ignore_index=True)
    if surprises:
        nats = [pd.read_parquet(run.file(made, "perplexity.parquet")) for made in surprises]
        known = pd.concat([rows.assign(place=place, score=-rows["nats"]) for place, rows in enumerate(nats)])
        ranked = everyone.merge(known, on=["prompt_id", "place"], validate="many_to_one")
    elif comparisons:
        won = copeland(pd.read_parquet(run.file(comparisons[0], "comparisons.parquet")))
        ranked = everyone.merge(won, on=["prompt_id", "place"], how="left", validate="many_to_one")
    else:
        values = pd.read_parquet(run.file(scores[0], "scores.parquet"), columns=["content_id", "score"])
        ranked = everyone.merge(values, on="content_id", validate="many_to_one")
    ranked = ranked.sort_values(["prompt_id", "score", "place"], ascending=[True, False, True])
    best = ranked.drop_duplicates("prompt_id")
    owners = best["place"].value_counts()
    run.count(rows=len(best), **{f"from_{name}": int(owners.get(place, 0)) for place, name in enumerate(what.members)})
    write(run, best, RESPONSE, "responses.parquet")
