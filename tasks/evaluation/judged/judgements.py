"""Judging: leaves `judgements.parquet`, a judge's raw reply to every game of a suite, and `answers.parquet`, what it judged.

Every game has a row: judged, flagged (the answer is degenerate, nobody was asked, it has lost) or unanswered (and why).
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
from tasks.evaluation.degenerate import flags
from tasks.evaluation.judged.questions import Answers, answers_of, read_suite
from tasks.evaluation.judged.suites import SUITES
from tasks.execution import Run
from tasks.rows import pool
from tasks.stage import Addressed, What, stage

Manifests = tuple[Manifest, ...]
ENOUGH_REPLIES = 30  # from which on a judge's own replies say how long they are


class Judging(What):
    """Who judges, and what is asked of it beyond the suite's own rules."""

    suite: str
    model: str = Field(min_length=1, description="as the endpoint calls it; it stands beside every number")
    revision: str = Field("", description="what else pins the judge: a snapshot, a commit")
    both_orders: bool = Field(False, description="ask in both positions where the suite asks in one")
    unanswered: float = Field(0.01, ge=0, le=1, description="share of games that may stay without reply")


class JudgingHow(Asking):
    """Where the judge is, how fast it is asked, and what may be spent."""

    url: Address = Field("http://127.0.0.1:8000/v1", description="an OpenAI-compatible endpoint, with /v1")
    price_in: float = Field(0.0, ge=0, description="dollars per million prompt tokens")
    price_out: float = Field(0.0, ge=0, description="dollars per million reply tokens")
    limit: float = Field(10.0, ge=0, description="dollars that one suite of one model may cost")
    tokenizer: str = Field("", description="the judge's tokenizer.json, by which the cost is projected")
    replay: bool = Field(False, description="make no call: use what was judged before, fail on the first gap")


def same_rows(what: Judging, inputs: Mapping[str, Sequence[Addressed]]) -> dict:
    """A judge's replies are one pool for all suites and models: a request says the rest."""
    return {"model": what.model, "revision": what.revision}


@stage("judging", version="2", rows=same_rows, rows_since="1")
def judge_answers(run: Run, what: Judging, how: JudgingHow, suite: Manifests, responses: Manifests) -> None:
    answers = answers_of(run, what.suite, suite[0], responses)
    games = games_of(run, what, suite[0], answers)
    wanted = games.dropna(subset="request").drop_duplicates("request")
    replies, unanswered = replies_to(run, how, wanted, SUITES[what.suite].REPLY_TOKENS)
    judged = games.merge(replies, on="request", how="left")
    judged["status"] = judged["status"].where(judged["status"] == "flagged", "judged")
    missing = judged["request"].notna() & judged["reply"].isna()
    judged.loc[missing, "status"] = "unanswered"
    judged["why"] = judged["why"].fillna(judged["request"].map(unanswered))
    if (share := missing.mean()) > what.unanswered:
        reason = judged.loc[missing, "why"].iloc[0]
        raise ProgramFailed(f"{missing.sum()} of {len(judged)} games ({share:.1%}) got no reply, the first: {reason}")
    judged.drop(columns="body").to_parquet(run.folder / "judgements.parquet", index=False)
    kept = pd.DataFrame({"question_id": list(answers), "turns": [list(turns) for turns in answers.values()]})
    kept.to_parquet(run.folder / "answers.parquet", index=False)
    run.count(rows=len(judged), flagged=int((judged["status"] == "flagged").sum()), unanswered=int(missing.sum()))


def games_of(run: Run, what: Judging, suite: Manifest, answers: Answers) -> pd.DataFrame:
    """A row per game, with the request in the words that the judge gets; none where the answer is degenerate."""
    module, folder, questions = read_suite(run, what.suite, suite)
    template, bad = module.template(folder), flags(answers)
    rows = []
    for question_id, question in questions.items():
        for game in module.games(template, question, answers[question_id], what.both_orders):
            reason = bad.get(question_id)
            body = {"model": what.model, "messages": list(game.messages), **module.PARAMETERS}
            rows.append(
                {
                    "question_id": question_id,
                    "name": game.name,
                    "status": "flagged" if reason else "to judge",
                    "why": reason,
                    "request": None if reason else request_id(body, what.revision),
                    "body": None if reason else json.dumps(body, ensure_ascii=False),
                }
            )
    return pd.DataFrame(rows).astype({"why": object, "request": object, "body": object})


def request_id(body: dict, revision: str) -> str:
    text = json.dumps([body, revision], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def replies_to(
    run: Run, how: JudgingHow, wanted: pd.DataFrame, usual_tokens: float
) -> tuple[pd.DataFrame, dict[str, str]]:
    """All replies of the judge to these requests, those that the pool lacks being asked for; and why any is missing."""
    held = pool.read(run, run.step.pool, ["request"])
    missing = wanted[~wanted["request"].isin(held["request"])][["request", "body"]]
    run.count(replies_found=len(wanted) - len(missing))
    unanswered: dict[str, str] = {}
    if len(missing):
        rows, out = run.scratch / "missing.parquet", run.scratch / "program"
        missing.to_parquet(rows, index=False)
        job = {
            "rows": str(rows),
            "journal": str(
                settings().workspace.absolute() / "judgements" / f"{run.step.pool.rpartition('/')[2]}.jsonl"
            ),
            "reply_tokens": reply_tokens(held, wanted, usual_tokens),
            "how": how.model_dump(mode="json"),
        }
        run.program("tasks.evaluation.judged.judge_program", job, lambda: pool.commit(run, run.step.pool, out))
        unanswered = json.loads((out / "unanswered.json").read_text())
        held = pool.read(run, run.step.pool, ["request"])
    columns = ["request", "reply", "prompt_tokens", "completion_tokens"]
    return held.reindex(columns=columns), unanswered


def reply_tokens(held: pd.DataFrame, wanted: pd.DataFrame, usual: float) -> float:
    """How long a reply is: of this judge's own to the same games where there are enough, else as usual."""
    known = held[held["request"].isin(wanted["request"])]
    return float(known["completion_tokens"].mean()) if len(known) >= ENOUGH_REPLIES else usual
