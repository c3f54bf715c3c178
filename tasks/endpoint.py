"""Asks an OpenAI-compatible endpoint, an API or a server of your own, many requests at once.

What a server may do is told apart here, once: an answer; a refusal of this request; a fault that passes (busy, broken,
silent, talking nonsense), which is tried again, ever later; a fault that no later try mends, which is the user's to mend.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import aiohttp

from infra.errors import BadInput

PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
OURS = {401: "the key is not accepted", 403: "the key has no right to it", 404: "there is no such model or address"}
LONGEST_WAIT = 30.0


class Unanswered(Exception):
    """This request has no answer: refused, or all attempts failed."""


class Refused(Unanswered):
    """The server will not answer this request, however often it is asked."""


def completion(reply: dict) -> bool:
    """Whether a reply is a chat completion: a choice whose message is text."""
    return isinstance(reply["choices"][0]["message"]["content"], str)


@dataclass(frozen=True)
class Endpoint:
    url: str  # up to and with /v1
    key: str = ""
    concurrency: int = 32
    timeout: float = 120.0
    attempts: int = 6
    first_wait: float = 0.5  # seconds before the second attempt; doubles
    path: str = "/chat/completions"
    is_reply: Callable[[dict], bool] = completion  # raises or says no where an answer is none


async def ask_all(
    endpoint: Endpoint, bodies: Iterable[tuple[str, dict]]
) -> AsyncIterator[tuple[str, dict | Unanswered]]:
    """Every request's name with its reply, or with why it has none, as they come."""
    waiting, done = iter(list(bodies)), asyncio.Queue()
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    limits = aiohttp.TCPConnector(limit=endpoint.concurrency)
    patience = aiohttp.ClientTimeout(total=endpoint.timeout)
    async with aiohttp.ClientSession(headers=headers, connector=limits, timeout=patience) as client:

        async def work() -> None:
            for name, body in waiting:
                try:
                    await done.put((name, await ask(client, endpoint, body)))
                except Unanswered as problem:
                    await done.put((name, problem))

        workers = [asyncio.create_task(work()) for _ in range(endpoint.concurrency)]
        try:
            async for found in each(done, workers):
                yield found
        finally:
            for worker in workers:
                worker.cancel()


async def each(done: asyncio.Queue, workers: list[asyncio.Task]) -> AsyncIterator[tuple[str, dict | Unanswered]]:
    """What the workers put down, until all have ended; the first that failed fails everything."""
    ended = asyncio.gather(*workers)
    while not (ended.done() and done.empty()):
        coming = asyncio.ensure_future(done.get())
        await asyncio.wait({coming, ended}, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            yield coming.result()
            continue
        coming.cancel()
        ended.result()


async def ask(client: aiohttp.ClientSession, endpoint: Endpoint, body: dict) -> dict:
    """The reply to one request, after as many attempts as it may take."""
    pause, fault = 0.0, ""
    for attempt in range(endpoint.attempts):
        await asyncio.sleep(pause)
        pause = min(LONGEST_WAIT, endpoint.first_wait * 2**attempt) * random.uniform(0.5, 1)
        try:
            async with client.post(endpoint.url + endpoint.path, json=body) as answer:
                text = await answer.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as problem:  # reset, silent, unreachable
            fault = f"{type(problem).__name__} {problem}".strip()
            continue
        if answer.status in OURS:
            raise BadInput(f"{endpoint.url}: {OURS[answer.status]} ({answer.status}): {text[:200]}")
        if answer.status in PASSING:
            fault, pause = f"status {answer.status}", max(pause, asked_to_wait(answer.headers.get("Retry-After", "")))
        elif answer.status != 200:
            raise Refused(f"status {answer.status}: {text[:200]}")
        elif reply := readable(text, endpoint.is_reply):
            return reply
        else:
            fault = f"no reply to this: {text[:80]!r}"
    raise Unanswered(f"{endpoint.attempts} attempts, the last: {fault}")


def asked_to_wait(text: str) -> float:
    return min(LONGEST_WAIT, float(text)) if text.isdigit() else 0.0


def readable(text: str, is_reply: Callable[[dict], bool]) -> dict | None:
    """The reply, if this is one."""
    try:
        reply = json.loads(text)
        return reply if is_reply(reply) else None
    except (ValueError, KeyError, IndexError, TypeError):
        return None
