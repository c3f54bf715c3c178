"""From a judge's raw replies to a suite's numbers: parsed, counted, and each with its bootstrap over questions.

The draws depend on seed and number of questions alone, so two models' replicates of one metric are paired.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd

from tasks.evaluation.judged.position_bias import position
from tasks.evaluation.judged.suites import SUITES, align_bench, alpaca_eval, arena_hard, length_control, mt_bench
from tasks.evaluation.judged.suites.files import Question
from tasks.evaluation.statistics import cluster_means, draws, estimate

REFITS = 2000


class Measured(NamedTuple):
    value: float
    replicates: np.ndarray


@dataclass(frozen=True)
class Sheet:
    """A model's answers to a suite and what the judge said of each: question_id, name, status, reply, verdict."""

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

    def of(self, games: set[tuple[str, str]]) -> "Sheet":
        named = zip(self.judged["question_id"], self.judged["name"], strict=True)
        return replace(self, judged=self.judged[[game in games for game in named]])


def parsed(judged: pd.DataFrame, suite: str) -> pd.DataFrame:
    """Raw replies with their verdicts: none where there is no reply or nothing to read in it, a loss where flagged."""
    module = SUITES[suite]
    verdicts = [
        module.lost(row.name_) if row.status == "flagged" else read_reply(module, row.reply, row.name_)
        for row in judged.rename(columns={"name": "name_"}).itertuples()
    ]
    return judged.assign(verdict=pd.Series(verdicts, index=judged.index, dtype=object))


def read_reply(module: ModuleType, reply: str | None, name: str) -> float | str | None:
    return module.verdict(json.loads(reply), name) if isinstance(reply, str) else None


def metrics(sheet: Sheet, of: Sequence[str], seed: int) -> dict[str, Measured]:
    """The suite's numbers over some of its questions."""
    judged = sheet.judged[sheet.judged["question_id"].isin(set(of))]
    match sheet.suite:
        case "alpaca-eval":
            return alpaca_metrics(sheet, judged, seed)
        case "arena-hard":
            found = arena_hard.battles(judged)
            return {"WR": mean(100 * found["score"], found["weight"], found["question_id"], seed)}
        case "mt-bench":
            return rating_metrics(judged, seed)
        case "align-bench":
            return align_metrics(sheet, judged, seed)
    raise ValueError(f"there is no suite {sheet.suite!r}")


def mean(values: pd.Series, weights: pd.Series, questions: pd.Series, seed: int) -> Measured:
    numbers, weighs = values.to_numpy(dtype=float), weights.to_numpy(dtype=float)
    return Measured(float(np.average(numbers, weights=weighs)), cluster_means(numbers, weighs, questions, seed))


def alpaca_metrics(sheet: Sheet, judged: pd.DataFrame, seed: int) -> dict[str, Measured]:
    rows = alpaca_eval.rows(judged, sheet.questions, sheet.answers).sort_values("instruction_index")
    gamed = pd.read_csv(sheet.folder / "df_gamed.csv")
    won, lengths = alpaca_eval.win_rate(rows), rows["len_2"].to_numpy(dtype=float)
    drawn, refits = draws(len(rows), seed), draws(len(rows), seed, REFITS)
    value, without_penalty = length_control.length_controlled(rows, gamed), np.arange(len(rows))[None]
    shift = value - length_control.refit(rows, gamed, without_penalty)  # the interval is of the published number
    return {
        "LC": Measured(value, length_control.refit(rows, gamed, refits) + shift),
        "WR": Measured(float(won.mean()), won[drawn].mean(axis=1)),
        "length": Measured(float(lengths.mean()), lengths[drawn].mean(axis=1)),
    }


def rating_metrics(judged: pd.DataFrame, seed: int) -> dict[str, Measured]:
    """Overall pools the rows: where ratings are missing it is not the mean of the turns'."""
    rated, _ = mt_bench.once(judged)
    parts = {name: rated[rated["name"] == name] for name in ("turn 1", "turn 2")} | {"overall": rated}
    return {
        name: mean(rows["verdict"], pd.Series(1.0, rows.index), rows["question_id"], seed)
        for name, rows in parts.items()
        if len(rows)
    }


def align_metrics(sheet: Sheet, judged: pd.DataFrame, seed: int) -> dict[str, Measured]:
    """Questions are drawn within their category: the score is a mean of the categories' means."""
    rated = judged.dropna(subset="verdict").sort_values("question_id")
    ratings = rated["verdict"].to_numpy(dtype=float)
    categories = np.array([sheet.questions[name].category for name in rated["question_id"]])
    means = {
        name: (rows.mean(), rows[draws(len(rows), (seed, place))].mean(axis=1))
        for place, name in enumerate(align_bench.CATEGORIES)
        if len(rows := ratings[categories == name])
    }
    value, replicates = (align_bench.groups({name: both[part] for name, both in means.items()}) for part in (0, 1))
    return {name: Measured(float(value[name]), replicates[name]) for name in value}


def counts(sheet: Sheet) -> dict[str, int | float]:
    """How much of the suite the numbers stand on, and what was odd about the rest."""
    judged = sheet.judged
    asked = judged[judged["status"] == "judged"]
    found = {
        "questions": len(sheet.questions),
        "missing": len(sheet.questions) - len(sheet.judged_questions()),
        "unanswered": int((judged["status"] == "unanswered").sum()),
        "invalid": int(asked["verdict"].isna().sum()),
        "flagged": int(judged.loc[judged["status"] == "flagged", "question_id"].nunique()),
        "length": float(np.mean([len(turn) for turns in sheet.answers.values() for turn in turns])),
        **position(sheet.suite, asked),
    }
    if sheet.suite == "arena-hard":
        found["stray"] = arena_hard.stray(asked["reply"])
    if sheet.suite == "mt-bench":
        found["duplicates"] = mt_bench.once(judged)[1]
    return found


def rate(measured: Measured, confidence: float) -> dict[str, float]:
    return estimate(measured.value, measured.replicates, confidence)


def difference(one: Sheet, other: Sheet, confidence: float, seed: int) -> list[dict]:
    """How much better `other` is, over the games that both have a verdict in, with the bootstrap's two-sided p."""
    games = one.judged_games() & other.judged_games()
    if not games:
        return []
    common = sorted({question for question, _ in games})
    before, after = (metrics(sheet.of(games), common, seed) for sheet in (one, other))
    found = []
    for name in before.keys() & after.keys():
        changes = after[name].replicates - before[name].replicates
        value = after[name].value - before[name].value
        found.append({"metric": name, **estimate(value, changes, confidence), "p": bootstrap_p(changes)})
    return sorted(found, key=lambda change: list(before).index(change["metric"]))


def bootstrap_p(changes: np.ndarray) -> float:
    """Twice the share of replicates on the other side of nothing, the observed one counted with them."""
    low, high = int((changes <= 0).sum()), int((changes >= 0).sum())
    return min(1.0, 2 * (1 + min(low, high)) / (1 + len(changes)))
