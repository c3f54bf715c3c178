"""Computes a suite's metrics from a judge's raw replies, each with bootstrap replicates over questions.

The draws depend only on the seed and the number of questions, so two models' replicates of a metric are paired.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from tasks.evaluation.judged.position_bias import measure_position_bias
from tasks.evaluation.judged.suites import (
    SUITES,
    align_bench,
    alpaca_eval,
    arena_hard,
    arena_hard_v2,
    length_control,
    mt_bench,
)
from tasks.evaluation.judged.suites.files import Question
from tasks.evaluation.judged.suites.judged_suite import JudgedSuite
from tasks.evaluation.statistics import draw_indices, estimate_interval, resample_cluster_means

REFITS = 2000


class SuiteMetric(NamedTuple):
    value: float
    replicates: np.ndarray


@dataclass(frozen=True)
class AnswerSheet:
    """A model's answers to a suite. `judged` has a row per game: question_id, name, status, reply, verdict."""

    suite: str
    folder: Path
    questions: dict[str, Question]
    answers: dict[str, tuple[str, ...]]
    judged: pd.DataFrame

    def judged_questions(self) -> set[str]:
        return {question for question, _ in self.judged_games()}

    def judged_games(self) -> set[tuple[str, str]]:
        known = self.judged.dropna(subset="verdict")
        return set(zip(known["question_id"], known["name"], strict=True))

    def restrict_to(self, games: set[tuple[str, str]]) -> "AnswerSheet":
        named = zip(self.judged["question_id"], self.judged["name"], strict=True)
        return replace(self, judged=self.judged[[game in games for game in named]])


def add_verdicts(judged: pd.DataFrame, suite: str) -> pd.DataFrame:
    """Adds the verdict column: None without a readable reply, a loss for flagged answers."""
    rules = SUITES[suite]
    verdicts = [
        rules.losing_verdict(row.name_) if row.status == "flagged" else read_reply_verdict(rules, row.reply, row.name_)
        for row in cast("Iterable[Any]", judged.rename(columns={"name": "name_"}).itertuples())
    ]
    return judged.assign(verdict=pd.Series(verdicts, index=judged.index, dtype=object))


def read_reply_verdict(rules: JudgedSuite, reply: str | None, game_name: str) -> float | str | None:
    return rules.read_verdict(json.loads(reply), game_name) if isinstance(reply, str) else None


def compute_suite_metrics(sheet: AnswerSheet, questions: Sequence[str], seed: int) -> dict[str, SuiteMetric]:
    """The suite's metrics over these questions."""
    judged = sheet.judged[sheet.judged["question_id"].isin(set(questions))]
    match sheet.suite:
        case "alpaca-eval":
            return compute_alpaca_metrics(sheet, judged, seed)
        case "arena-hard":
            battles = arena_hard.make_battles(judged)
            return {
                "WR": resample_weighted_mean(100 * battles["score"], battles["weight"], battles["question_id"], seed)
            }
        case "arena-hard-v2.0":
            return {
                title: resample_weighted_mean(100 * rows["score"], rows["weight"], rows["question_id"], seed)
                for title, rows in arena_hard_v2.categories_of(arena_hard.make_battles(judged), sheet.questions).items()
            }
        case "mt-bench":
            return compute_rating_metrics(judged, seed)
        case "align-bench":
            return compute_align_metrics(sheet, judged, seed)
    raise ValueError(f"unknown suite {sheet.suite!r}")


def resample_weighted_mean(values: pd.Series, weights: pd.Series, questions: pd.Series, seed: int) -> SuiteMetric:
    numbers, weighs = values.to_numpy(dtype=float), weights.to_numpy(dtype=float)
    return SuiteMetric(
        float(np.average(numbers, weights=weighs)), resample_cluster_means(numbers, weighs, questions, seed)
    )


def compute_alpaca_metrics(sheet: AnswerSheet, judged: pd.DataFrame, seed: int) -> dict[str, SuiteMetric]:
    rows = alpaca_eval.make_preference_rows(judged, sheet.questions, sheet.answers).sort_values("instruction_index")
    gamed = pd.read_csv(sheet.folder / "df_gamed.csv")
    won, lengths = alpaca_eval.compute_win_rates(rows), rows["len_2"].to_numpy(dtype=float)
    drawn, refits = draw_indices(len(rows), seed), draw_indices(len(rows), seed, REFITS)
    value, every_row = length_control.fit_controlled_rate(rows, gamed), np.arange(len(rows))[None]
    # The replicates are fitted without the L1 penalty; the shift centres them on the published fit, which has it.
    shift = value - length_control.refit_controlled_rates(rows, gamed, every_row)
    return {
        "LC": SuiteMetric(value, length_control.refit_controlled_rates(rows, gamed, refits) + shift),
        "WR": SuiteMetric(float(won.mean()), won[drawn].mean(axis=1)),
        "length": SuiteMetric(float(lengths.mean()), lengths[drawn].mean(axis=1)),
    }


def compute_rating_metrics(judged: pd.DataFrame, seed: int) -> dict[str, SuiteMetric]:
    """Overall is the mean of all ratings. If ratings are missing, it differs from the mean of the two turns."""
    rated, _ = mt_bench.drop_duplicate_ratings(judged)
    parts = {name: rated[rated["name"] == name] for name in mt_bench.TURN_NAMES} | {"overall": rated}
    return {
        name: resample_weighted_mean(rows["verdict"], pd.Series(1.0, rows.index), rows["question_id"], seed)
        for name, rows in parts.items()
        if len(rows)
    }


def compute_align_metrics(sheet: AnswerSheet, judged: pd.DataFrame, seed: int) -> dict[str, SuiteMetric]:
    """The bootstrap draws within categories, because the score is a mean of the categories' means."""
    rated = judged.dropna(subset="verdict").sort_values("question_id")
    ratings = rated["verdict"].to_numpy(dtype=float)
    categories = np.array([sheet.questions[name].category for name in rated["question_id"]])
    means = {
        name: (rows.mean(), rows[draw_indices(len(rows), (seed, place))].mean(axis=1))
        for place, name in enumerate(align_bench.CATEGORIES)
        if len(rows := ratings[categories == name])
    }
    value = align_bench.average_groups({name: mean for name, (mean, _) in means.items()})
    replicates = align_bench.average_groups({name: drawn for name, (_, drawn) in means.items()})
    return {name: SuiteMetric(float(value[name]), replicates[name]) for name in value}


def count_judged_games(sheet: AnswerSheet) -> dict[str, int | float]:
    """Counts of questions and games: missing, unanswered, invalid, flagged; the mean length; the judge's position bias."""
    judged = sheet.judged
    replied = judged[judged["status"] == "judged"]
    totals = {
        "questions": len(sheet.questions),
        "missing": len(sheet.questions) - len(sheet.judged_questions()),
        "unanswered": int((judged["status"] == "unanswered").sum()),
        "invalid": int(replied["verdict"].isna().sum()),
        "flagged": int(judged.loc[judged["status"] == "flagged", "question_id"].nunique()),
        "length": float(np.mean([len(turn) for turns in sheet.answers.values() for turn in turns])),
        **measure_position_bias(sheet.suite, replied),
    }
    if sheet.suite == "arena-hard":
        totals["stray"] = arena_hard.count_stray_labels(replied["reply"])
    if sheet.suite == "mt-bench":
        totals["duplicates"] = mt_bench.drop_duplicate_ratings(judged)[1]
    return totals


def estimate_metric(measured: SuiteMetric, confidence: float) -> dict[str, float]:
    return estimate_interval(measured.value, measured.replicates, confidence)


def compare_answer_sheets(baseline: AnswerSheet, candidate: AnswerSheet, confidence: float, seed: int) -> list[dict]:
    """The candidate's gain over the baseline in each metric, over the games where both have a verdict, with the bootstrap's
    two-sided p-value."""
    games = baseline.judged_games() & candidate.judged_games()
    if not games:
        return []
    common = sorted({question for question, _ in games})
    before, after = (compute_suite_metrics(sheet.restrict_to(games), common, seed) for sheet in (baseline, candidate))
    gains = []
    for name in before.keys() & after.keys():
        changes = after[name].replicates - before[name].replicates
        value = after[name].value - before[name].value
        gains.append(
            {"metric": name, **estimate_interval(value, changes, confidence), "p": compute_bootstrap_p(changes)}
        )
    return sorted(gains, key=lambda change: list(before).index(change["metric"]))


def compute_bootstrap_p(changes: np.ndarray) -> float:
    """Twice the share of replicates on the other side of zero; the observed change counts as one of the replicates."""
    low, high = int((changes <= 0).sum()), int((changes >= 0).sum())
    return min(1.0, 2 * (1 + min(low, high)) / (1 + len(changes)))
