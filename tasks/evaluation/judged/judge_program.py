"""Program: has a judge's endpoint answer what it was not asked before. Projects the cost first, and refuses above the limit.

A reply is in the journal before anything else is done with it, and in a part of the pool seconds later: what a kill can
cost is the requests in flight.
"""

import asyncio
import itertools
import json
import time
from pathlib import Path

import pyarrow.parquet as pq

from infra.errors import BadInput
from infra.settings import settings
from tasks.endpoint.client import Endpoint, Unanswered, ask_all, completion, text_of, tokens_of
from tasks.endpoint.settings import manner
from tasks.evaluation.judged import journal
from tasks.evaluation.judged.cost import Cost, project, spent
from tasks.evaluation.judged.replies import REPLY, Told
from tasks.program import Progress, run, write_json
from tasks.rows.parts import write_part

NEARLY_SURE = 1e-3  # servers round, so that a certainty may stand a little above 0


def main(job: dict, out: Path, progress: Progress) -> dict:
    rows, how = pq.read_table(job["rows"]).to_pylist(), job["how"]
    paid = journal.read(Path(job["journal"]))
    known = [paid[row["request"]] for row in rows if row["request"] in paid]
    asked = [(row["request"], json.loads(row["body"])) for row in rows if row["request"] not in paid]
    if known:
        write_part(known, REPLY, out / "part-known.parquet")
    if asked and how["replay"]:
        raise BadInput(f"how.replay: {len(asked)} of {len(rows)} judgements were never made, and replay makes no call")
    projected = project([body for _, body in asked], job["reply_tokens"], how)
    refuse(projected, how, len(asked))
    told = Told(out, progress, known=len(known), total=len(rows))
    started = time.monotonic()
    with journal.Journal(Path(job["journal"])) as paid_for:
        asyncio.run(listen(told, endpoint(how), asked, paid_for, how))
    write_json(out / "unanswered.json", told.unanswered)
    cost = spent(told.replies, how)
    return {
        "asked": len(asked),
        "answered": len(told.replies),
        "unanswered": len(told.unanswered),
        "from_journal": len(known),
        "projected_prompt_tokens": projected.prompt_tokens,
        "prompt_tokens": cost.prompt_tokens,
        "completion_tokens": cost.completion_tokens,
        "projected_dollars": round(projected.dollars, 4),
        "dollars": round(cost.dollars, 4),
        "requests_per_second": round(len(told.replies) / max(time.monotonic() - started, 1e-9), 1),
    }


def endpoint(how: dict) -> Endpoint:
    return Endpoint(how["url"], settings().judge_key.get_secret_value(), is_reply=readable, **manner(how))


def readable(reply: dict) -> bool:
    """A completion of which everything can be read that is kept; raises where it cannot, and is asked for again."""
    return completion(reply) and bool(reply_row("", reply))


def refuse(projected: Cost, how: dict, requests: int) -> None:
    if projected.dollars > how["limit"]:
        raise BadInput(
            f"how.limit: {requests:,} requests with {projected.prompt_tokens:,} tokens would cost about "
            f"${projected.dollars:,.2f}, the limit is ${how['limit']:,.2f}"
        )


async def listen(told: Told, where: Endpoint, asked: list, paid_for: journal.Journal, how: dict) -> None:
    """Asks until the limit is spent; what is under way then is paid for too, and heard."""
    within = itertools.takewhile(lambda _: not told.enough, asked)
    async for request, reply in ask_all(where, within):
        if isinstance(reply, Unanswered):
            told.unanswered[request] = str(reply)
            continue
        row = reply_row(request, reply)
        paid_for.append(row)
        told.hear(row, how)
    told.flush()
    if told.enough:
        raise BadInput(f"{told.enough}; replies are kept")


def reply_row(request: str, reply: dict) -> dict:
    choice = reply["choices"][0]
    tokens = (choice.get("logprobs") or {}).get("content") or [{}]
    kept = {
        "content": text_of(choice),
        "finish_reason": choice.get("finish_reason"),
        "top_logprobs": [chance(one) for one in tokens[0].get("top_logprobs") or ()],
        "model": reply.get("model"),
    }
    return {
        "request": request,
        "reply": json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8"),  # half a character
        "prompt_tokens": tokens_of(reply, "prompt_tokens"),
        "completion_tokens": tokens_of(reply, "completion_tokens"),
    }


def chance(one: dict) -> dict:
    """A token and its log-probability; what is no probability, or no number, is no reply."""
    if not (found := float(one["logprob"])) < NEARLY_SURE:
        raise ValueError(f"{found} is no log-probability")
    return {"token": str(one["token"]), "logprob": found}


if __name__ == "__main__":
    run(main)
