"""Collects the report's numbers from a run's artifacts: results, shares, rewards, dynamics, counts, costs, examples."""

import json
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import pandas as pd

from infra.manifest import Manifest
from tasks.execution import Run
from tasks.report.jury import compare_jurors, join_scores

Manifests = tuple[Manifest, ...]
Groups = Iterable[tuple[str, pd.DataFrame]]  # pandas' groupby by one column of text
BINS = 30
EXAMPLES = 12


def collect_numbers(
    run: Run, sources: tuple[str, ...], jurors: tuple[str, ...], suites: tuple[str, ...], inputs: dict[str, Manifests]
) -> dict:
    """All numbers of the report. The input `jury` has the first juror's scores of each source, then the second juror's, …"""
    evaluation = json.loads(run.file(inputs["evaluation"][0], "results.json").read_text())
    answers = pd.read_parquet(run.file(inputs["evaluation"][0], "answers.parquet"))
    candidates = read_scored_responses(run, sources, inputs["responses"], inputs["scores"])
    judged = {"reward": candidates} | by_jurors(run, sources, jurors, inputs)
    everything = list_upstream(run, inputs)
    return {
        **evaluation,
        "judge": describe_judge(inputs["judge"][0], inputs["reward"][0]),
        "summary": summarise_evaluation(evaluation),
        "suites": [
            {"name": name, "state": "done", **json.loads(run.file(made, "results.json").read_text())}
            for name, made in zip(suites, inputs["suites"], strict=True)
        ],
        "shares": count_best_sources({name: rows.dropna(subset="score") for name, rows in candidates.items()}),
        "jury": compare_jurors(join_scores(judged), list(judged)),
        "rewards": bin_rewards(answers, sources),
        "dynamics": read_training_steps(run, inputs["wrpo"][0]),
        "sft_dynamics": read_training_steps(run, *inputs["sft"]) if inputs["sft"] else [],
        "counts": [row for manifest in everything for row in describe_counts(manifest)],
        "costs": [describe_cost(manifest) for manifest in everything],
        "examples": choose_examples(answers, read_prompt_texts(run, inputs["prompts"][0])),
        "versions": {**inputs["evaluation"][0].provenance},
    }


def read_scored_responses(
    run: Run, sources: tuple[str, ...], responses: Manifests, scores: Manifests
) -> dict[str, pd.DataFrame]:
    """Each source's responses with their scores. Equal texts get one score, as in the training pairs."""
    known = ["content_id", "score"]
    values = pd.concat([pd.read_parquet(run.file(judged, "scores.parquet"), columns=known) for judged in scores])
    values = values.drop_duplicates("content_id")
    columns = ["prompt_id", "sample_index", "content_id", "tokens"]
    return {
        name: pd.read_parquet(run.file(made, "responses.parquet"), columns=columns).merge(values, on="content_id")
        for name, made in zip(sources, responses, strict=True)
    }


def by_jurors(run: Run, sources: tuple[str, ...], jurors: tuple[str, ...], inputs: dict[str, Manifests]) -> dict:
    """The scored responses of every additional reward model, by its name."""
    made = [inputs["jury"][place : place + len(sources)] for place in range(0, len(inputs["jury"]), len(sources))]
    return {
        name: read_scored_responses(run, sources, inputs["responses"], scores)
        for name, scores in zip(jurors, made, strict=True)
    }


def describe_judge(judge: Manifest, reward: Manifest) -> str:
    """The name of the judge, and whether it also chose the training data."""
    if judge.fingerprint == reward.fingerprint:
        return "the reward model that also chose the training data, so the judge is not independent"
    return f"{judge.label.removeprefix('model · ')} {judge.fingerprint[:8]}, not the reward model that chose the data"


def summarise_evaluation(evaluation: dict) -> str:
    """One sentence with the differences; a difference is only given if its interval excludes zero."""
    claims = []
    for change in evaluation["differences"]:
        noise = change["low"] <= 0 <= change["high"]
        size = "within noise" if noise else f"{100 * change['value']:+.1f} points"
        claims.append(f"{change['from']} to {change['to']}, {change['metric'].replace('_', ' ')}: {size}")
    if evaluation["no_accuracy"]:
        claims.append(f"no accuracy: {evaluation['no_accuracy']}")
    return "; ".join(claims) + "."


def count_best_sources(candidates: dict[str, pd.DataFrame]) -> list[dict]:
    """How many prompts' best responses each source wrote (the paper's Table 1); a tie goes to the first in the recipe."""
    everything = pd.concat(
        [rows.assign(source=name, priority=place) for place, (name, rows) in enumerate(candidates.items())]
    )
    order = ["score", "priority", "sample_index", "content_id"]
    best = everything.sort_values(order, ascending=[False, True, True, True]).drop_duplicates("prompt_id")
    top = everything["score"] == everything.groupby("prompt_id")["score"].transform("max")
    tied = everything[top].groupby("prompt_id")["source"].nunique() > 1
    won, shared = best["source"].value_counts(), best[best["prompt_id"].map(tied)]["source"].value_counts()
    return [
        {
            "source": name,
            "count": int(won.get(name, 0)),
            "tied": int(shared.get(name, 0)),
            "share": float(won.get(name, 0) / len(best)),
            "mean_score": float(rows["score"].mean()),
            "responses": len(rows),
        }
        for name, rows in candidates.items()
    ]


def bin_rewards(answers: pd.DataFrame, sources: tuple[str, ...]) -> dict:
    """The distribution of the judge's scores for each model's answers to the held-out prompts: the paper's Figure 1."""
    edges = np.histogram_bin_edges(answers["score"], BINS)
    return {
        "edges": edges.tolist(),
        "series": [
            {
                "name": name,
                "role": "source" if name in sources else name.lower(),
                "mean": float(rows["score"].mean()),
                "counts": np.histogram(rows["score"], edges)[0].tolist(),
            }
            for name, rows in cast(Groups, answers.groupby("model", sort=False))
        ],
    }


def read_training_steps(run: Run, manifest: Manifest) -> list[dict]:
    rows = pd.read_parquet(run.file(manifest, "steps.parquet"))
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def list_upstream(run: Run, inputs: dict[str, Manifests]) -> list[Manifest]:
    """The manifests of all artifacts that the report was made from, inputs before their users."""
    seen: dict[str, Manifest] = {}

    def visit(manifest: Manifest) -> None:
        if manifest.fingerprint in seen:
            return
        for references in manifest.inputs.values():
            for reference in references:
                if found := run.store.manifest(
                    reference.stage, reference.fingerprint
                ):  # artifacts that were deleted from the store are left out
                    visit(found)
        seen[manifest.fingerprint] = manifest

    for manifests in inputs.values():
        for manifest in manifests:
            visit(manifest)
    return list(seen.values())


def describe_counts(manifest: Manifest) -> list[dict]:
    return [
        {"stage": manifest.stage, "label": manifest.label, "what": name.replace("_", " "), "value": value}
        for name, value in manifest.counts.items()
        if isinstance(value, int)
    ]


def describe_cost(manifest: Manifest) -> dict:
    return {
        "address": f"{manifest.stage}/{manifest.fingerprint}",
        "label": manifest.label,
        "rows": manifest.counts.get("rows"),
        "tokens": manifest.counts.get("tokens"),
        "seconds": manifest.counts.get("program_seconds", manifest.seconds),
    }


def add_estimates(costs: list[dict], estimates: dict[str, dict]) -> None:
    """Adds the seconds that were estimated before the run, where there are any."""
    for cost in costs:
        cost["estimate"] = estimates.get(cost["address"])


def read_prompt_texts(run: Run, manifest: Manifest) -> dict[str, str]:
    rows = pd.read_parquet(run.file(manifest, "prompts.parquet"), columns=["prompt_id", "messages"])
    return {
        prompt: "\n".join(turn["content"] for turn in turns)
        for prompt, turns in zip(rows["prompt_id"], rows["messages"], strict=True)
    }


def choose_examples(answers: pd.DataFrame, prompts: dict[str, str]) -> list[dict]:
    """The first held-out prompts by id. Ids are hashes, so the choice is random and not made by a person."""
    shown = sorted(answers["prompt_id"].unique())[:EXAMPLES]
    return [
        {
            "prompt": prompts[prompt],
            "gold": None if pd.isna(gold := rows["gold"].iloc[0]) else gold,
            "answers": [
                {"model": row.model, "text": row.text, "correct": None if pd.isna(row.check) else row.check == 1}
                for row in cast("Iterable[Any]", rows.itertuples())
            ],
        }
        for prompt, rows in cast(Groups, answers[answers["prompt_id"].isin(shown)].groupby("prompt_id"))
    ]
