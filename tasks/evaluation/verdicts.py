"""Joins the checks' verdicts to answers. A recipe's evaluation and a checked suite use the same rules:

only prompts with a gold count, and an answer that could not be checked is not correct. If none of a model's answers could be
checked, the model has no accuracy, only the reason.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.execution import Run

NO_CHECKS = "the recipe has no [checks]"
NO_GOLD = "no prompt has a gold (a correct answer, or tests)"


def has_gold(golds: pd.Series) -> pd.Series:
    return golds.fillna("").str.strip() != ""


def read_verdicts(run: Run, checks: Manifest) -> pd.DataFrame:
    """For each distinct answer: `check` is 1 (correct), 0 (not correct) or missing (not checked, for this `reason`)."""
    rows = pd.read_parquet(run.file(checks, "scores.parquet"), columns=["content_id", "score", "verdict", "reason"])
    reason = rows["reason"].where(rows["reason"].fillna("") != "", rows["verdict"])
    return rows[["content_id"]].assign(check=rows["score"], reason=reason.where(rows["score"].isna()))


def add_verdicts(rows: pd.DataFrame, verdicts: pd.DataFrame, name: str) -> pd.DataFrame:
    joined = rows.merge(verdicts, on="content_id", how="left", validate="many_to_one", indicator="known")
    missing = (joined["known"] == "left_only") & joined["content_id"].notna()
    if missing.any():
        raise BadInput(f"evaluation: {int(missing.sum())} answers of {name!r} have no check")
    return joined.drop(columns="known")


def find_obstacle(answers: Sequence[pd.DataFrame]) -> str | None:
    """The reason why there is no accuracy on prompts with a gold; None if at least one answer was checked."""
    rows = pd.concat([one[["text", "check", "reason"]] for one in answers])
    if rows.empty:
        return NO_GOLD
    if rows["check"].notna().any():
        return None
    answered = rows.dropna(subset="text")
    commonest = answered["reason"].mode().iloc[0] if len(answered) else "there is no answer"
    return f"none of {len(answered)} answers could be checked: {commonest}"


def find_model_obstacles(answers: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """The reason for each model that answered and has no checked answer. A model without any answer is not right, accuracy 0."""
    answered = {name: rows for name, rows in answers.items() if rows["text"].notna().any()}
    return {name: reason for name, rows in answered.items() if (reason := find_obstacle([rows]))}
