"""Judging: writes `judgements.parquet`, a judge's raw reply to each game of a suite, and `answers.parquet`, the judged answers.

Each game has one row with a status: judged, flagged (the answer is degenerate and loses without a request) or unanswered
(with the reason).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

import pandas as pd
from pydantic import Field

from infra.errors import ProgramFailed
from infra.manifest import Manifest
from infra.settings import settings
from tasks.endpoint.settings import Address, Asking
from tasks.evaluation.degenerate import find_degenerate_answers
from tasks.evaluation.judged.questions import Answers, read_suite, read_suite_answers
from tasks.evaluation.judged.suites import SUITES
from tasks.execution import Run
from tasks.rows.filling import commit_parts
from tasks.rows.reading import read_pool
from tasks.stage import Addressed, What, stage

Manifests = tuple[Manifest, ...]
ENOUGH_REPLIES = 30  # to estimate the length of a judge's replies from its own


class Judging(What):
    """The judge, and settings that the suite leaves open."""

    suite: str
    model: str = Field(min_length=1, description="the judge's name at its endpoint; shown beside each number")
    revision: str = Field(default="", description="a snapshot or commit that pins the judge")
    both_orders: bool = Field(
        default=False, description="true: asks in both orders of the answers, even if the suite asks only in one"
    )
    unanswered: float = Field(default=0.01, ge=0, le=1, description="largest allowed share of games without a reply")


class JudgingHow(Asking):
    """The judge's endpoint, its rate limits and the budget."""

    url: Address = Field(
        default="http://127.0.0.1:8000/v1",
        description="address of an OpenAI-compatible endpoint, up to and including /v1",
    )
    price_in: float = Field(default=0.0, ge=0, description="dollars per million prompt tokens")
    price_out: float = Field(default=0.0, ge=0, description="dollars per million reply tokens")
    limit: float = Field(default=10.0, ge=0, description="budget in dollars for one suite and one model")
    tokenizer: str = Field(default="", description="path of the judge's tokenizer.json, for the projected cost")
    replay: bool = Field(
        default=False, description="true: sends no requests, uses only stored replies, and fails if a reply is missing"
    )


def make_judgement_pool_key(what: Judging, inputs: Mapping[str, Sequence[Addressed]]) -> dict:
    """All suites and models share one pool of a judge's replies; the request identifies a reply within it."""
    return {"model": what.model, "revision": what.revision}


@stage("judging", version="2", rows=make_judgement_pool_key, rows_since="1")
def judge_answers(run: Run, what: Judging, how: JudgingHow, suite: Manifests, responses: Manifests) -> None:
    answers = read_suite_answers(run, what.suite, suite[0], responses)
    games = make_suite_games(run, what, suite[0], answers)
    wanted = games.dropna(subset="request").drop_duplicates("request")
    replies, unanswered = obtain_replies(run, how, wanted, SUITES[what.suite].reply_tokens)
    judged = games.merge(replies, on="request", how="left")
    judged["status"] = judged["status"].where(judged["status"] == "flagged", "judged")
    missing = judged["request"].notna() & judged["reply"].isna()
    judged.loc[missing, "status"] = "unanswered"
    judged["why"] = judged["why"].fillna(judged["request"].map(unanswered))
    if (share := missing.mean()) > what.unanswered:
        reason = judged.loc[missing, "why"].iloc[0]
        raise ProgramFailed(
            f"{missing.sum()} of {len(judged)} games ({share:.1%}) got no reply; reason of the first: {reason}"
        )
    judged.drop(columns="body").to_parquet(run.folder / "judgements.parquet", index=False)
    kept = pd.DataFrame({"question_id": list(answers), "turns": [list(turns) for turns in answers.values()]})
    kept.to_parquet(run.folder / "answers.parquet", index=False)
    run.count(rows=len(judged), flagged=int((judged["status"] == "flagged").sum()), unanswered=int(missing.sum()))


def make_suite_games(run: Run, what: Judging, suite: Manifest, answers: Answers) -> pd.DataFrame:
    """A row per game, with the request to the judge. A game about a degenerate answer has no request."""
    rules, folder, questions = read_suite(run, what.suite, suite)
    judge_prompt, degenerate = rules.read_judge_prompt(folder), find_degenerate_answers(answers)
    rows = []
    for question_id, question in questions.items():
        for game in rules.make_games(judge_prompt, question, answers[question_id], what.both_orders):
            reason = degenerate.get(question_id)
            body = {"model": what.model, "messages": list(game.messages), **rules.parameters}
            rows.append(
                {
                    "question_id": question_id,
                    "name": game.name,
                    "status": "flagged" if reason else "to judge",
                    "why": reason,
                    "request": None if reason else compute_request_id(body, what.revision),
                    "body": None if reason else json.dumps(body, ensure_ascii=False),
                }
            )
    return pd.DataFrame(rows).astype({"why": object, "request": object, "body": object})


def compute_request_id(body: dict, revision: str) -> str:
    text = json.dumps([body, revision], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def obtain_replies(
    run: Run, how: JudgingHow, wanted: pd.DataFrame, usual_tokens: float
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The judge's replies to these requests, and the reason for each missing one. Asks only for replies that the pool lacks."""
    replies_pool = run.step.pool
    assert replies_pool is not None  # the judging stages have rows
    held = read_pool(run, replies_pool, ["request"])
    missing = wanted[~wanted["request"].isin(held["request"])][["request", "body"]]
    run.count(replies_found=len(wanted) - len(missing))
    unanswered: dict[str, str] = {}
    if len(missing):
        rows, out = run.scratch / "missing.parquet", run.scratch / "program"
        missing.to_parquet(rows, index=False)
        job = {
            "rows": str(rows),
            "journal": str(settings().workspace.absolute() / "judgements" / f"{replies_pool.rpartition('/')[2]}.jsonl"),
            "reply_tokens": estimate_reply_tokens(held, wanted, usual_tokens),
            "how": how.model_dump(mode="json"),
        }
        run.program(
            "tasks.evaluation.judged.judge_program", job, lambda: commit_parts(run, run.store, replies_pool, out)
        )
        unanswered = json.loads((out / "unanswered.json").read_text())
        held = read_pool(run, replies_pool, ["request"])
    columns = ["request", "reply", "prompt_tokens", "completion_tokens"]
    return held.reindex(columns=columns), unanswered


def estimate_reply_tokens(held: pd.DataFrame, wanted: pd.DataFrame, usual: float) -> float:
    """Estimated length of a reply: the mean of the judge's stored replies if there are enough, else `usual`."""
    known = held[held["request"].isin(wanted["request"])]
    return float(known["completion_tokens"].mean()) if len(known) >= ENOUGH_REPLIES else usual
