"""Collects what the report shows from the artifacts of a run: results, shares, rewards, dynamics, counts, costs, examples."""

import json

import numpy as np
import pandas as pd

from infra.manifest import Manifest
from tasks.execution import Run
from tasks.report.jury import jury, table

Manifests = tuple[Manifest, ...]
BINS = 30
EXAMPLES = 12


def collect(
    run: Run, sources: tuple[str, ...], jurors: tuple[str, ...], suites: tuple[str, ...], inputs: dict[str, Manifests]
) -> dict:
    """`jury` among the inputs: what the first juror made of each source's responses, then what the second did, and so on."""
    evaluation = json.loads(run.file(inputs["evaluation"][0], "results.json").read_text())
    answers = pd.read_parquet(run.file(inputs["evaluation"][0], "answers.parquet"))
    candidates = scored(run, sources, inputs["responses"], inputs["scores"])
    judged = {"reward": candidates} | by_jurors(run, sources, jurors, inputs)
    everything = upstream(run, inputs)
    return {
        **evaluation,
        "judge": judge(inputs["judge"][0], inputs["reward"][0]),
        "summary": summary(evaluation),
        "suites": [
            {"name": name, "state": "done", **json.loads(run.file(made, "results.json").read_text())}
            for name, made in zip(suites, inputs["suites"], strict=True)
        ],
        "shares": shares({name: rows.dropna(subset="score") for name, rows in candidates.items()}),
        "jury": jury(table(judged), list(judged)),
        "rewards": rewards(answers, sources),
        "dynamics": steps(run, inputs["wrpo"][0]),
        "sft_dynamics": steps(run, *inputs["sft"]) if inputs["sft"] else [],
        "counts": [row for manifest in everything for row in counts(manifest)],
        "costs": [cost(manifest) for manifest in everything],
        "examples": examples(answers, prompts_of(run, inputs["prompts"][0])),
        "versions": {**inputs["evaluation"][0].provenance},
    }


def scored(run: Run, sources: tuple[str, ...], responses: Manifests, scores: Manifests) -> dict[str, pd.DataFrame]:
    """Each source's responses with their scores; the same words have one score, as the pairs have it."""
    known = ["content_id", "score"]
    values = pd.concat([pd.read_parquet(run.file(judged, "scores.parquet"), columns=known) for judged in scores])
    values = values.drop_duplicates("content_id")
    columns = ["prompt_id", "sample_index", "content_id", "tokens"]
    return {
        name: pd.read_parquet(run.file(made, "responses.parquet"), columns=columns).merge(values, on="content_id")
        for name, made in zip(sources, responses, strict=True)
    }


def by_jurors(run: Run, sources: tuple[str, ...], jurors: tuple[str, ...], inputs: dict[str, Manifests]) -> dict:
    """The same, of every other reward model by its name."""
    made = [inputs["jury"][place : place + len(sources)] for place in range(0, len(inputs["jury"]), len(sources))]
    return {name: scored(run, sources, inputs["responses"], own) for name, own in zip(jurors, made, strict=True)}


def judge(judge: Manifest, reward: Manifest) -> str:
    """Who judged, and whether it also chose the training data."""
    if judge.fingerprint == reward.fingerprint:
        return "the reward model that chose the training data (its own work is not judged independently)"
    return f"{judge.label.removeprefix('model · ')} {judge.fingerprint[:8]}, not the reward model that chose the data"


def summary(evaluation: dict) -> str:
    """One sentence that claims what the intervals bear out, and no more."""
    said = []
    for change in evaluation["differences"]:
        noise = change["low"] <= 0 <= change["high"]
        size = "within noise" if noise else f"{100 * change['value']:+.1f} points"
        said.append(f"{change['from']} to {change['to']}, {change['metric'].replace('_', ' ')}: {size}")
    if evaluation["no_accuracy"]:
        said.append(f"no accuracy: {evaluation['no_accuracy']}")
    return "; ".join(said) + "."


def shares(candidates: dict[str, pd.DataFrame]) -> list[dict]:
    """Which source wrote the best response of each prompt, the paper's Table 1; a tie goes to the first in the recipe."""
    everyone = pd.concat(
        [rows.assign(source=name, priority=place) for place, (name, rows) in enumerate(candidates.items())]
    )
    order = ["score", "priority", "sample_index", "content_id"]
    best = everyone.sort_values(order, ascending=[False, True, True, True]).drop_duplicates("prompt_id")
    top = everyone["score"] == everyone.groupby("prompt_id")["score"].transform("max")
    tied = everyone[top].groupby("prompt_id")["source"].nunique() > 1
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


def rewards(answers: pd.DataFrame, sources: tuple[str, ...]) -> dict:
    """How the judge's scores of each model's answers to the same held-out prompts are distributed: the paper's Figure 1."""
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
            for name, rows in answers.groupby("model", sort=False)
        ],
    }


def steps(run: Run, manifest: Manifest) -> list[dict]:
    rows = pd.read_parquet(run.file(manifest, "steps.parquet"))
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def upstream(run: Run, inputs: dict[str, Manifests]) -> list[Manifest]:
    """The manifests of all that the report stands on, inputs before their users."""
    seen: dict[str, Manifest] = {}

    def visit(manifest: Manifest) -> None:
        if manifest.fingerprint in seen:
            return
        for references in manifest.inputs.values():
            for reference in references:
                if found := run.store.manifest(
                    reference.stage, reference.fingerprint
                ):  # swept ones are no cost any more
                    visit(found)
        seen[manifest.fingerprint] = manifest

    for manifests in inputs.values():
        for manifest in manifests:
            visit(manifest)
    return list(seen.values())


def counts(manifest: Manifest) -> list[dict]:
    return [
        {"stage": manifest.stage, "label": manifest.label, "what": name.replace("_", " "), "value": value}
        for name, value in manifest.counts.items()
        if isinstance(value, int)
    ]


def cost(manifest: Manifest) -> dict:
    return {
        "label": manifest.label,
        "rows": manifest.counts.get("rows"),
        "tokens": manifest.counts.get("tokens"),
        "seconds": manifest.counts.get("program_seconds", manifest.seconds),
    }


def prompts_of(run: Run, manifest: Manifest) -> dict[str, str]:
    rows = pd.read_parquet(run.file(manifest, "prompts.parquet"), columns=["prompt_id", "messages"])
    return {
        prompt: "\n".join(turn["content"] for turn in turns)
        for prompt, turns in zip(rows["prompt_id"], rows["messages"], strict=True)
    }


def examples(answers: pd.DataFrame, prompts: dict[str, str]) -> list[dict]:
    """The first held-out prompts by id, so that nobody chose them."""
    shown = sorted(answers["prompt_id"].unique())[:EXAMPLES]
    return [
        {
            "prompt": prompts[prompt],
            "gold": None if pd.isna(gold := rows["gold"].iloc[0]) else gold,
            "answers": [
                {"model": row.model, "text": row.text, "correct": None if pd.isna(row.check) else row.check == 1}
                for row in rows.itertuples()
            ],
        }
        for prompt, rows in answers[answers["prompt_id"].isin(shown)].groupby("prompt_id")
    ]
