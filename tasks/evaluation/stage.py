"""Evaluation: writes `answers.parquet` (a row per model and held-out prompt) and `results.json` (rates with intervals).

It has two measures. Accuracy: the share of correct answers, according to the recipe's checks, on the prompts with a gold.
Win rate: the share of the sources' answers that score lower, according to a judge that did not build the training data; all
answers are decoded in the same way, and a tie counts one half.
"""

import itertools
import json
from typing import cast

import pandas as pd
from pydantic import Field

from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.evaluation.statistics import bootstrap_mean
from tasks.evaluation.verdicts import (
    NO_CHECKS,
    add_verdicts,
    find_model_obstacles,
    find_obstacle,
    has_gold,
    read_verdicts,
)
from tasks.execution import Run
from tasks.stage import How, Seed, What, stage

Manifests = tuple[Manifest, ...]


class Evaluation(What):
    models: tuple[str, ...] = Field(description="names of the evaluated models, each compared with the one before it")
    opponents: tuple[str, ...] = Field(description="names of the sources")
    collectives: tuple[str, ...] = Field(
        default=(), description="names of the baselines that combine the sources' answers"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    seed: Seed


@stage("evaluation", version="2")
def evaluate(
    run: Run,
    what: Evaluation,
    how: How,
    prompts: Manifests,
    splits: Manifests,
    answers: Manifests,
    scores: Manifests,
    checks: Manifests,
) -> None:
    """`checks`: the checks of each model's answers, in the order of `answers`; empty if the recipe has no checks."""
    held_out = read_held_out_prompts(run, prompts, splits)
    values = pd.read_parquet(run.file(scores[0], "scores.parquet"), columns=["content_id", "score"])
    made = zip(
        (*what.models, *what.opponents, *what.collectives), answers, checks or (None,) * len(answers), strict=True
    )
    table = pd.concat([join_answers(run, *one, held_out, values) for one in made], ignore_index=True)
    table = drop_unanswered(run, table)
    with_gold = table[has_gold(table["gold"])]
    obstacle = find_obstacle([with_gold]) if checks else NO_CHECKS
    obstacles = {} if obstacle else find_model_obstacles({str(name): rows for name, rows in with_gold.groupby("model")})
    table["correct"] = find_correct(table, obstacle).where(~table["model"].isin(obstacles), None)
    table["win_rate"] = compute_win_rates(table, what.opponents)
    table.to_parquet(run.folder / "answers.parquet", index=False)
    results = [summarise_model(name, table, what, obstacles.get(name)) for name in table["model"].unique()]
    changes = compare_all_models(table, what)
    (run.folder / "results.json").write_text(
        json.dumps(
            {
                "held_out": table["prompt_id"].nunique(),
                "confidence": what.confidence,
                "no_accuracy": obstacle,
                "results": results,
                "differences": changes,
            },
            indent=1,
        )
    )
    run.count(rows=len(table), prompts=len(held_out))


def read_held_out_prompts(run: Run, prompts: Manifests, splits: Manifests) -> pd.DataFrame:
    parts = pd.read_parquet(run.file(splits[0], "splits.parquet"))
    rows = pd.read_parquet(run.file(prompts[0], "prompts.parquet"))
    return rows[rows["prompt_id"].isin(parts.loc[parts["part"] == "held_out", "prompt_id"])]


def join_answers(
    run: Run, name: str, manifest: Manifest, checks: Manifest | None, held_out: pd.DataFrame, values: pd.DataFrame
) -> pd.DataFrame:
    """A model's answer to each held-out prompt, with its score by the judge and its verdict by the checks."""
    rows = pd.read_parquet(
        run.file(manifest, "responses.parquet"), columns=["prompt_id", "text", "content_id", "tokens"]
    )
    joined = held_out[["prompt_id", "gold"]].merge(rows, on="prompt_id", how="left", validate="one_to_one")
    joined = joined.merge(values, on="content_id", how="left", validate="many_to_one").assign(model=name)
    unscored = joined["score"].isna() & joined["text"].notna()
    if unscored.any():
        raise BadInput(f"evaluation: {int(unscored.sum())} held-out answers of {name!r} have no score")
    if checks is None:
        return joined.assign(check=None, reason=NO_CHECKS)
    return add_verdicts(joined, read_verdicts(run, checks), name)


def find_correct(table: pd.DataFrame, obstacle: str | None) -> pd.Series:
    """True or False if the prompt has a gold; otherwise None, and always None if no answer was checked."""
    right = (table["check"] == 1).astype(object)
    return right.where(has_gold(table["gold"]) & (obstacle is None), None)


def drop_unanswered(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Drops and counts the prompts that some model did not answer, since models are compared on the same prompts."""
    silent = table.loc[table["text"].isna(), "prompt_id"]
    left = table[~table["prompt_id"].isin(silent)].reset_index(drop=True)
    run.count(dropped_without_answer=int(silent.nunique()))
    if left.empty:
        raise BadInput(f"evaluation: no held-out prompt of {table['prompt_id'].nunique()} has an answer by every model")
    return left


def compute_win_rates(table: pd.DataFrame, opponents: tuple[str, ...]) -> pd.Series:
    """For each answer: the share of the opponents' answers to the same prompt that it beats; a tie is half a win.
    An opponent is not compared with itself."""
    scores = table.pivot(index="prompt_id", columns="model", values="score")
    rates = {}
    for name in scores:
        against = scores[[other for other in opponents if other != name]]
        won = against.lt(scores[name], axis=0) + 0.5 * against.eq(scores[name], axis=0)
        rates[name] = won.mean(axis=1)
    stacked = cast(pd.Series, pd.DataFrame(rates).stack())
    by_answer = stacked.rename_axis(["prompt_id", "model"]).rename("win_rate")
    return table[["prompt_id", "model"]].merge(by_answer.reset_index(), how="left")["win_rate"]


def summarise_model(name: str, table: pd.DataFrame, what: Evaluation, obstacle: str | None) -> dict:
    """`obstacle`: the reason why only this model has no accuracy; the result has it as `no_accuracy`."""
    rows = table[table["model"] == name].sort_values("prompt_id")
    return {
        "model": name,
        "role": "source" if name in what.opponents else "collective" if name in what.collectives else name.lower(),
        "accuracy": estimate_rate(rows["correct"], what),
        "unchecked": int((rows["correct"].notna() & rows["check"].isna()).sum()),
        "win_rate": estimate_rate(rows["win_rate"], what),
        "tokens": None if rows["tokens"].isna().all() else float(rows["tokens"].mean()),
        **({"no_accuracy": obstacle} if obstacle else {}),
    }


def compare_all_models(table: pd.DataFrame, what: Evaluation) -> list[dict]:
    """Compares each model with the next, and each collective with the last model."""
    pairs = [*itertools.pairwise(what.models), *((name, what.models[-1]) for name in what.collectives)]
    return [change for before, after in pairs for change in compare_models(before, after, table, what)]


def compare_models(before: str, after: str, table: pd.DataFrame, what: Evaluation) -> list[dict]:
    """The differences `after` minus `before` on the same prompts."""
    one, two = (table[table["model"] == name].sort_values("prompt_id") for name in (before, after))
    found = []
    for metric, column in (("accuracy", "correct"), ("win_rate", "win_rate")):
        change = pd.Series(two[column].to_numpy(dtype=float) - one[column].to_numpy(dtype=float))
        if (measured := estimate_rate(change, what)) is not None:
            found.append({"from": before, "to": after, "metric": metric, **measured})
    return found


def estimate_rate(values: pd.Series, what: Evaluation) -> dict[str, float] | None:
    """The mean with its interval; None if there are no values, for example without gold answers."""
    known = values.dropna().to_numpy(dtype=float)
    return bootstrap_mean(known, what.confidence, what.seed) if len(known) else None
