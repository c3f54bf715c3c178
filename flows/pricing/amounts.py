"""Predicts the counts of planned steps: rows, tokens and optimizer steps, in the form in which manifests record them.

A ratio, such as the tokens of a response, comes from the newest artifact of the same model, else of the same stage, else it is
assumed.
"""

import math
from collections.abc import Callable
from typing import Any

from flows.pricing.jobs import Job, Jobs
from flows.pricing.model_sizes import anchors

PROMPTS = 60_000  # of a set whose size is not known before it is read
ROLES = 3  # responses of a preference record


def predict_counts(jobs: Jobs) -> None:
    """Fills the counts of all steps that are not in the store, inputs before their users."""
    for job in jobs.steps:
        if job.manifest is None and job.stage in RULES:
            job.counts = RULES[job.stage](job, jobs)


def ratio(job: Job, jobs: Jobs, share: Callable[[Job], float | None], assumed: float) -> float:
    """The share that artifacts of the same stage had; those of the same model first, of the same label next."""
    own = jobs.model_of(job)
    alike = lambda found: (
        0 if own and (model := jobs.model_of(found)) and model.address == own.address else 1,
        found.label != job.label,
    )
    for found in sorted(jobs.artifacts(job.stage), key=alike):
        if (value := share(found)) is not None:
            return value
    return assumed


def divided(part: Any, whole: Any) -> float | None:
    return part / whole if part is not None and whole else None


def rows_of(jobs: list[Job]) -> float:
    return sum(found.counts.get("rows", 0) for found in jobs)


def prompt_tokens(job: Job, jobs: Jobs) -> float:
    """Mean tokens of a prompt."""
    (prompts, *_) = [*jobs.inputs(job, "prompts"), None]
    return anchors()["texts"]["puzzle_tokens" if prompts and prompts.what.get("kind") == "skills" else "prompt_tokens"]


def response_tokens(job: Job, jobs: Jobs) -> float:
    """Mean tokens of a response, of a job that reads or writes responses."""
    if rows := rows_of(found := jobs.inputs(job, "responses")):
        return sum(one.counts.get("tokens", 0) for one in found) / rows
    if records := [*jobs.inputs(job, "records"), *jobs.inputs(job, "pairs")]:
        return response_tokens(records[0], jobs)
    limit = job.what.get("max_new_tokens", anchors()["texts"]["response_tokens"])
    mean = lambda found: divided(found.counts.get("tokens"), found.counts.get("rows"))
    return ratio(job, jobs, mean, min(limit, anchors()["texts"]["response_tokens"]))


def predict_prompts(job: Job, jobs: Jobs) -> dict:
    return {"rows": job.what.get("count") or ratio(job, jobs, lambda found: found.counts.get("rows"), PROMPTS)}


def predict_splits(job: Job, jobs: Jobs) -> dict:
    rows, what = rows_of(jobs.inputs(job, "prompts")), job.what
    held_out = what.get("held_out", 0.1)
    sft = what.get("sft", 1 / 3) * (1 - held_out if what["kind"] == "by-category" else 1)
    sizes = {"sft": sft, "held_out": held_out, "preference": what.get("preference", 1 - sft - held_out)}
    return {"rows": rows} | {part: rows * share for part, share in sizes.items()}


def predict_responses(job: Job, jobs: Jobs) -> dict:
    if jobs.model_of(job) and jobs.model_of(job).what.get("kind") == "existing":  # pyright: ignore[reportOptionalMemberAccess]
        return {"rows": rows_of(jobs.inputs(job, "prompts")), "rows_made": 0, "tokens": 0}
    splits = jobs.inputs(job, "splits")
    parts = job.what.get("parts") or ()
    asked = (
        sum(splits[0].counts.get(part, 0) for part in parts)
        if splits and parts
        else rows_of(jobs.inputs(job, "prompts"))
    )
    rows = asked * job.what["n"]
    return {
        "rows": rows,
        "rows_made": rows - min(rows, held_rows(job, jobs)),
        "tokens": rows * response_tokens(job, jobs),
    }


def made_rows(job: Job) -> float:
    """The rows that a planned step makes; 0 for an artifact."""
    return job.counts.get("rows_made", 0) if job.manifest is None else 0


def held_rows(job: Job, jobs: Jobs) -> int:
    """Rows that the step's pool has already; some of them may answer other prompts."""
    return sum(entry.rows or 0 for entry in jobs.store.parts(job.pool)) if job.pool else 0


def predict_scores(job: Job, jobs: Jobs) -> dict:
    """Equal responses have one score, so there are fewer rows than responses."""
    said = rows_of(jobs.inputs(job, "responses"))
    distinct = lambda found: divided(found.counts.get("rows"), rows_of(jobs.inputs(found, "responses")))
    rows = said * min(1.0, ratio(job, jobs, distinct, 1.0))
    each = prompt_tokens(job, jobs) + response_tokens(job, jobs)
    per_row = lambda found: divided(found.counts.get("tokens"), found.counts.get("rows"))
    new = sum(made_rows(found) for found in jobs.inputs(job, "responses")) / said if said else 0.0
    return {
        "rows": rows,
        "rows_made": max(rows - held_rows(job, jobs), rows * new),
        "tokens": rows * ratio(job, jobs, per_row, each),
    }


def predict_records(part: str, assumed: float) -> Callable[[Job, Jobs], dict]:
    def predict(job: Job, jobs: Jobs) -> dict:
        asked = lambda one: (
            sum(split.counts.get(part, 0) for split in jobs.inputs(one, "splits"))
            or rows_of(jobs.inputs(one, "prompts"))
        )
        kept = ratio(job, jobs, lambda found: divided(found.counts.get("rows"), asked(found)), assumed)
        return {"rows": asked(job) * kept}

    return predict


def predict_reference(job: Job, jobs: Jobs) -> dict:
    distinct = lambda found: divided(found.counts.get("rows"), rows_of(jobs.inputs(found, "pairs")))
    rows = rows_of(jobs.inputs(job, "pairs")) * ratio(job, jobs, distinct, ROLES)
    per_row = lambda found: divided(found.counts.get("tokens"), found.counts.get("rows"))
    return {"rows": rows, "rows_made": rows, "tokens": rows * ratio(job, jobs, per_row, response_tokens(job, jobs))}


def predict_training(kind: str, responses: int) -> Callable[[Job, Jobs], dict]:
    """`kind`: the input with the records, each with so many responses."""

    def predict(job: Job, jobs: Jobs) -> dict:
        rows, what = rows_of(jobs.inputs(job, kind)), job.what
        steps = math.ceil(rows * what["epochs"] / what["batch_size"])
        steps = min(steps, what.get("max_steps") or steps)
        each = prompt_tokens(job, jobs) + responses * response_tokens(job, jobs)
        seen = lambda found: divided(
            found.counts.get("tokens"), found.counts.get("steps", 0) * found.what["batch_size"]
        )
        tokens = steps * what["batch_size"] * ratio(job, jobs, seen, min(each, responses * what["max_length"]))
        return {"rows": rows, "steps": steps, "tokens": tokens}

    return predict


def predict_model(job: Job, jobs: Jobs) -> dict:
    if job.what.get("kind") not in ("tiny", "tiny-reward"):
        return {}
    steps = job.what["steps"]
    seen = lambda found: (
        divided(found.counts.get("tokens"), found.what["steps"] * found.what["batch_size"])
        if found.what.get("kind") == job.what["kind"]
        else None
    )
    each = ratio(job, jobs, seen, 2 * anchors()["texts"]["puzzle_tokens"])
    return {"steps": steps, "tokens": steps * job.what["batch_size"] * each}


def predict_from_inputs(job: Job, jobs: Jobs) -> dict:
    """As many rows as all inputs together."""
    return {"rows": sum(rows_of(jobs.inputs(job, name)) for name in ("answers", "responses"))}


RULES: dict[str, Callable[[Job, Jobs], dict]] = {
    "model": predict_model,
    "prompt-selection": predict_prompts,
    "splitting": predict_splits,
    "per-model-sampling": predict_responses,
    "reward-annotation": predict_scores,
    "reward-checks": predict_scores,
    "sft-records": predict_records("sft", 0.97),
    "pairs": predict_records("preference", 0.9),
    "sft": predict_training("records", 1),
    "reference-log-probs": predict_reference,
    "wrpo": predict_training("pairs", ROLES),
    "evaluation": predict_from_inputs,
    "report": predict_from_inputs,
}
