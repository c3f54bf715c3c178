"""Program: sends the requests that the journal has no reply for to the judge's endpoint. Stops before the first request if
the projected cost exceeds the limit.

Each reply is first written to the journal, and seconds later to a part of the pool. A kill loses only requests in flight.
"""

import asyncio
import itertools
import json
import time
from pathlib import Path

import pyarrow.parquet as pq

from infra.errors import BadInput
from infra.settings import settings
from tasks.endpoint.client import EndpointClient, Unanswered, ask_all, choice_text, count_tokens, is_completion
from tasks.endpoint.settings import asking_settings
from tasks.evaluation.judged import journal
from tasks.evaluation.judged.cost import JudgingCost, compute_spent_cost, project_cost
from tasks.evaluation.judged.replies import REPLY, ReplyLog
from tasks.program import Progress, run_program, write_json
from tasks.rows.parts import write_part

HIGHEST_LOGPROB = 1e-3  # slightly above 0, because servers round


def main(job: dict, out: Path, progress: Progress) -> dict:
    rows, how = pq.read_table(job["rows"]).to_pylist(), job["how"]
    stored = journal.read_journal(Path(job["journal"]))
    known = [stored[row["request"]] for row in rows if row["request"] in stored]
    requests = [(row["request"], json.loads(row["body"])) for row in rows if row["request"] not in stored]
    if known:
        write_part(known, REPLY, out / "part-known.parquet")
    if requests and how["replay"]:
        raise BadInput(
            f"how.replay: {len(requests)} of {len(rows)} judgements are not stored, and replay makes no requests"
        )
    projected = project_cost([body for _, body in requests], job["reply_tokens"], how)
    check_projected_cost(projected, how, len(requests))
    log = ReplyLog(out, progress, known=len(known), total=len(rows))
    started = time.monotonic()
    with journal.ReplyJournal(Path(job["journal"])) as journal_file:
        asyncio.run(ask_judge(log, open_judge_endpoint(how), requests, journal_file, how))
    write_json(out / "unanswered.json", log.unanswered)
    cost = compute_spent_cost(log.replies, how)
    return {
        "asked": len(requests),
        "answered": len(log.replies),
        "unanswered": len(log.unanswered),
        "from_journal": len(known),
        "projected_prompt_tokens": projected.prompt_tokens,
        "prompt_tokens": cost.prompt_tokens,
        "completion_tokens": cost.completion_tokens,
        "projected_dollars": round(projected.dollars, 4),
        "dollars": round(cost.dollars, 4),
        "requests_per_second": round(len(log.replies) / max(time.monotonic() - started, 1e-9), 1),
    }


def open_judge_endpoint(how: dict) -> EndpointClient:
    return EndpointClient(
        how["url"], settings().judge_key.get_secret_value(), is_reply=is_readable_reply, **asking_settings(how)
    )


def is_readable_reply(reply: dict) -> bool:
    """True if all fields that are kept can be read. Otherwise raises an error, and the client asks again."""
    return is_completion(reply) and bool(make_reply_row("", reply))


def check_projected_cost(projected: JudgingCost, how: dict, requests: int) -> None:
    if projected.dollars > how["limit"]:
        raise BadInput(
            f"how.limit: {requests:,} requests with {projected.prompt_tokens:,} tokens would cost about "
            f"${projected.dollars:,.2f}, but the limit is ${how['limit']:,.2f}"
        )


async def ask_judge(
    log: ReplyLog, judge: EndpointClient, requests: list, journal_file: journal.ReplyJournal, how: dict
) -> None:
    """Sends requests until the limit is spent. Requests in flight at that moment are paid too, so their replies are kept."""
    within_limit = itertools.takewhile(lambda _: not log.stop_reason, requests)
    async for request, reply in ask_all(judge, within_limit):
        if isinstance(reply, Unanswered):
            log.unanswered[request] = str(reply)
            continue
        row = make_reply_row(request, reply)
        journal_file.append(row)
        log.record(row, how)
    log.flush()
    if log.stop_reason:
        raise BadInput(f"{log.stop_reason}; all replies so far are kept")


def make_reply_row(request: str, reply: dict) -> dict:
    choice = reply["choices"][0]
    tokens = (choice.get("logprobs") or {}).get("content") or [{}]
    kept = {
        "content": choice_text(choice),
        "finish_reason": choice.get("finish_reason"),
        "top_logprobs": [read_logprob(entry) for entry in tokens[0].get("top_logprobs") or ()],
        "model": reply.get("model"),
    }
    return {
        "request": request,
        "reply": json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8"),  # no lone surrogates
        "prompt_tokens": count_tokens(reply, "prompt_tokens"),
        "completion_tokens": count_tokens(reply, "completion_tokens"),
    }


def read_logprob(entry: dict) -> dict:
    """A token and its log-probability. Raises an error if the value is not a log-probability."""
    if not (logprob := float(entry["logprob"])) < HIGHEST_LOGPROB:
        raise ValueError(f"{logprob} is not a log-probability")
    return {"token": str(entry["token"]), "logprob": logprob}


if __name__ == "__main__":
    run_program(main)
