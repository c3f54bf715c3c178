"""Program: scores from a served reward model, through vLLM's pooling API (`/classify` or `/pooling`).

JOB {model, rows, what, how, threads}; writes OUT/part-*.parquet. A conversation that the endpoint refuses gets no score. If
the endpoint does not answer, the program fails and a later run asks again.
"""

import asyncio
import json
import math
from pathlib import Path

import pyarrow.parquet as pq

from infra.errors import BadInput
from infra.settings import settings
from tasks.endpoint.client import EndpointClient, Refused, Unanswered, ask_all, count_tokens
from tasks.endpoint.settings import asking_settings
from tasks.program import Progress, run_program
from tasks.records import SCORE
from tasks.rows.parts import Rows, write_in_parts


def ask_scores(job: dict, out: Path, progress: Progress) -> dict:
    how = job["how"]
    model = json.loads((Path(job["model"]) / "served.json").read_text())["id"]
    if model not in how["urls"]:
        raise BadInput(
            f"how.scoring.urls: has no endpoint for {model!r}; add one, for example http://127.0.0.1:8000/classify"
        )
    endpoint = EndpointClient(
        url=how["urls"][model],
        path="",
        is_reply=lambda reply: isinstance(read_number(reply), float),
        key=settings().reward_key.get_secret_value(),
        **asking_settings(how),
    )
    rows = pq.read_table(job["rows"]).to_pylist()
    tokens = write_in_parts(
        rows, how, SCORE, out, progress, lambda batch: asyncio.run(score_batch(endpoint, model, batch))
    )
    return {"tokens_made": tokens}


async def score_batch(endpoint: EndpointClient, model: str, rows: Rows) -> Rows:
    bodies = ((row["content_id"], request_body(model, row)) for row in rows)
    replies = {name: reply async for name, reply in ask_all(endpoint, bodies)}
    return [score_row(row["content_id"], replies[row["content_id"]], endpoint.url) for row in rows]


def request_body(model: str, row: dict) -> dict:
    """The server applies its own chat template; it returns the raw score, without a sigmoid."""
    turns = [*row["messages"], {"role": "assistant", "content": row["text"]}]
    return {"model": model, "messages": turns, "add_generation_prompt": False, "use_activation": False}


def score_row(content: str, reply: dict | Unanswered, url: str) -> dict:
    empty = {"content_id": content, "score": None, "tokens": None, "truncated": False, "reason": None}
    match reply:
        case Refused():
            return empty | {"reason": f"refused: {reply}"}
        case Unanswered():
            raise RuntimeError(f"{url}: no answer for content {content}: {reply}")
    if not math.isfinite(found := read_number(reply)):
        raise BadInput(f"{url}: the score of content {content} is {found}")
    return empty | {"score": found, "tokens": count_tokens(reply, "prompt_tokens") or None}


def read_number(reply: dict) -> float:
    """The reply's only number: in `probs` for a classifier, in `data` for a pooler."""
    (one,) = reply["data"]
    (value,) = one["probs"] if "probs" in one else one["data"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


if __name__ == "__main__":
    run_program(ask_scores)
