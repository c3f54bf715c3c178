"""Collective answers: writes `responses.parquet` with one of several models' answers to each prompt, chosen without sampling.

The answer is chosen by a reward model's scores (an upper bound for rankers), by the pairs that it wins before a judge, or by
the model with the lowest perplexity of the prompt (PackLLM's Top1-PPL, arXiv 2404.11531; `perplexity.parquet` of each model).
"""

import pandas as pd
from pydantic import Field

from infra.manifest import Manifest
from tasks.evaluation.collectives.pairwise import compute_copeland_scores
from tasks.execution import Run
from tasks.records import RESPONSE
from tasks.rows.pool import write_table
from tasks.stage import How, What, stage

Manifests = tuple[Manifest, ...]


class PerplexityHow(How):
    batch_size: int = Field(default=8, gt=0)

    @property
    def gpus(self) -> int:
        return 1


@stage("prompt perplexity", version="1")
def measure_surprise(
    run: Run, what: What, how: PerplexityHow, prompts: Manifests, model: Manifests, splits: Manifests = ()
) -> None:
    rows = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages"])
    if splits:  # the models answer only the held-out prompts
        parts = pd.read_parquet(run.file(splits[0], "splits.parquet"))
        rows = rows[rows["prompt_id"].isin(parts.loc[parts["part"] == "held_out", "prompt_id"])]
    rows["text"] = ["\n".join(turn["content"] for turn in turns) for turns in rows["messages"]]
    texts = run.scratch / "prompts.parquet"
    rows[["prompt_id", "text"]].to_parquet(texts, index=False)
    job = {"model": str(run.model(model[0])), "rows": str(texts), "batch_size": how.batch_size}
    run.keep(run.program("tasks.evaluation.collectives.perplexity", job), "perplexity.parquet")


class CollectiveChoice(What):
    members: tuple[str, ...] = Field(
        min_length=2, description="names of the members; for equal scores the first one is chosen"
    )


@stage("collective answers", version="1")
def choose_answers(
    run: Run,
    what: CollectiveChoice,
    how: How,
    responses: Manifests,
    scores: Manifests = (),
    surprises: Manifests = (),
    comparisons: Manifests = (),
) -> None:
    by_member = [pd.read_parquet(run.file(made, "responses.parquet")) for made in responses]
    candidates = pd.concat([rows.assign(place=place) for place, rows in enumerate(by_member)], ignore_index=True)
    if surprises:
        nats = [pd.read_parquet(run.file(made, "perplexity.parquet")) for made in surprises]
        known = pd.concat([rows.assign(place=place, score=-rows["nats"]) for place, rows in enumerate(nats)])
        ranked = candidates.merge(known, on=["prompt_id", "place"], validate="many_to_one")
    elif comparisons:
        won = compute_copeland_scores(pd.read_parquet(run.file(comparisons[0], "comparisons.parquet")))
        ranked = candidates.merge(won, on=["prompt_id", "place"], how="left", validate="many_to_one")
    else:
        values = pd.read_parquet(run.file(scores[0], "scores.parquet"), columns=["content_id", "score"])
        ranked = candidates.merge(values, on="content_id", validate="many_to_one")
    ranked = ranked.sort_values(["prompt_id", "score", "place"], ascending=[True, False, True])
    best = ranked.drop_duplicates("prompt_id")
    owners = best["place"].value_counts()
    run.count(rows=len(best), **{f"from_{name}": int(owners.get(place, 0)) for place, name in enumerate(what.members)})
    write_table(run, best, RESPONSE, "responses.parquet")
