"""Program: scores of a reward model that somebody serves, by vLLM's pooling API (`/classify` or `/pooling`).

JOB {model, rows, what, how, threads}; writes OUT/part-*.parquet. A conversation that the endpoint refuses has no score; one
that it cannot answer now ends the program, so that a later run asks again.
"""

import asyncio
import json
import math
from pathlib import Path

import pyarrow.parquet as pq

from infra.errors import BadInput
from infra.settings import settings
from tasks.endpoint.client import Endpoint, Refused, Unanswered, ask_all, tokens_of
from tasks.endpoint.settings import manner
from tasks.program import Progress, run
from tasks.records import SCORE
from tasks.rows.parts import Rows, write_in_parts


def ask(job: dict, out: Path, progress: Progress) -> dict:
    how = job["how"]
    model = json.loads((Path(job["model"]) / "served.json").read_text())["id"]
    if model not in how["urls"]:
        raise BadInput(f"how.scoring.urls: says no endpoint of {model!r}, for example http://127.0.0.1:8000/classify")
    endpoint = Endpoint(
        url=how["urls"][model],
        path="",
        is_reply=lambda reply: isinstance(number(reply), float),
        key=settings().reward_key.get_secret_value(),
        **manner(how),
    )
    rows = pq.read_table(job["rows"]).to_pylist()
    tokens = write_in_parts(rows, how, SCORE, out, progress, lambda batch: asyncio.run(scored(endpoint, model, batch)))
    return {"tokens_made": tokens}


async def scored(endpoint: Endpoint, model: str, rows: Rows) -> Rows:
    bodies = ((row["content_id"], body(model, row)) for row in rows)
    replies = {name: reply async for name, reply in ask_all(endpoint, bodies)}
    return [score(row["content_id"], replies[row["content_id"]], endpoint.url) for row in rows]


def body(model: str, row: dict) -> dict:
    """The server's own template makes a text of it; the score comes as it is, not through a sigmoid."""
    turns = [*row["messages"], {"role": "assistant", "content": row["text"]}]
    return {"model": model, "messages": turns, "add_generation_prompt": False, "use_activation": False}


def score(content: str, reply: dict | Unanswered, url: str) -> dict:
    empty = {"content_id": content, "score": None, "tokens": None, "truncated": False, "reason": None}
    match reply:
        case Refused():
            return empty | {"reason": f"refused: {reply}"}
        case Unanswered():
            raise RuntimeError(f"{url}: content {content} got no answer: {reply}")
    if not math.isfinite(found := number(reply)):
        raise BadInput(f"{url}: the score of content {content} is {found}")
    return empty | {"score": found, "tokens": tokens_of(reply, "prompt_tokens") or None}


def number(reply: dict) -> float:
    """The one number of a reply: `probs` of a classifier, `data` of a pooler."""
    (one,) = reply["data"]
    (value,) = one["probs"] if "probs" in one else one["data"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


if __name__ == "__main__":
    run(ask)
