"""Asks an OpenAI-compatible endpoint, an API or a server of your own, many requests at once.

What a server may do is told apart here, once: an answer; a refusal of this request; a fault that passes (busy, broken,
silent, talking nonsense), which is tried again, ever later; a fault that no later try mends, which is the user's to mend.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import aiohttp

from infra.errors import BadInput
from tasks.endpoint.rate_limit import Pace

PASSING = {408, 409, 425, 429, *range(500, 600)}  # proxies have numbers of their own: 524, one was silent for too long
BUSY = {429, 529}
OURS = {
    401: "the key is not accepted",
    402: "the account is not paid for",
    403: "the key has no right to it",
    404: "there is no such model or address",
    405: "the address takes no such request",
    410: "the model or address is gone",
}
WITHOUT_TEXT = {  # how an answer ends that has none, and would have none if it were asked for again
    "content_filter": "filtered: the server withholds its answer",
    "length": "no text: the answer was cut before it began",
    "stop": "no text: the model does not answer",
}
LARGEST = 2**26  # bytes of a reply, unpacked; the longest response is far from it
LONGEST_WAIT = 60.0  # of our own choice; a server may ask for more
LONGEST_ASKED = 900.0


class Unanswered(Exception):
    """This request has no answer: refused, or all attempts failed."""


class Refused(Unanswered):
    """The server will not answer this request, however often it is asked."""


def is_completion(reply: dict) -> bool:
    """Whether a reply is a completion: a choice that holds text, or says why not, and that the server did not break off."""
    choice = reply["choices"][0]
    said, ended = choice_text(choice), choice.get("finish_reason")
    whole = isinstance(said, str) and ended != "abort"  # vLLM answers so, with 200, when it is being stopped
    return whole or (said is None and ended in WITHOUT_TEXT)


@dataclass(frozen=True)
class EndpointClient:
    url: str  # up to and with /v1, or all of it where `path` is empty
    key: str = field(default="", repr=False)
    concurrency: int = 32
    timeout: float = 120.0
    attempts: int = 6
    first_wait: float = 0.5  # seconds before the second attempt; doubles
    path: str = "chat/completions"
    is_reply: Callable[[dict], bool] = is_completion  # raises or says no where an answer is none
    pace: Pace = field(default_factory=Pace)
    seen: Counter = field(default_factory=Counter)  # requests, retries, tokens


async def ask_all(
    endpoint: EndpointClient, bodies: Iterable[tuple[str, dict]]
) -> AsyncIterator[tuple[str, dict | Unanswered]]:
    """Every request's name with its reply, or with why it has none, as they come. Few of `bodies` are held at once."""
    waiting, done = iter(bodies), asyncio.Queue(2 * endpoint.concurrency)
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    limits = aiohttp.TCPConnector(limit=endpoint.concurrency)
    patience = aiohttp.ClientTimeout(total=endpoint.timeout)
    async with aiohttp.ClientSession(headers=headers, connector=limits, timeout=patience) as client:

        async def work() -> None:
            try:
                for name, body in waiting:
                    await done.put((name, await answer_or_why(client, endpoint, body)))
                await done.put(None)
            except Exception as problem:  # not handled here: raised where the answers are read
                await done.put(problem)

        workers = [asyncio.create_task(work()) for _ in range(endpoint.concurrency)]
        try:
            ended = 0
            while ended < len(workers):
                found = await done.get()
                if isinstance(found, Exception):
                    raise found
                if found is None:
                    ended += 1
                else:
                    yield found
        finally:
            for worker in workers:
                worker.cancel()


async def answer_or_why(client: aiohttp.ClientSession, endpoint: EndpointClient, body: dict) -> dict | Unanswered:
    try:
        return await ask_endpoint(client, endpoint, body)
    except Unanswered as problem:
        return problem


async def ask_endpoint(client: aiohttp.ClientSession, endpoint: EndpointClient, body: dict) -> dict:
    """The reply to one request, after as many attempts as it may take. They count anew while a busy server answers others:
    that is a queue, and no fault."""
    pause, fault, address = 0.0, "", f"{endpoint.url.rstrip('/')}/{endpoint.path}" if endpoint.path else endpoint.url
    failed, answered = 0, endpoint.seen["answers"]
    for attempt in itertools.count():
        if failed == endpoint.attempts:
            raise Unanswered(f"{endpoint.attempts} attempts, the last: {fault}")
        await asyncio.sleep(pause)
        reserved = await endpoint.pace.turn()
        endpoint.seen.update(requests=1, retries=bool(attempt))
        pause = min(LONGEST_WAIT, endpoint.first_wait * 2 ** min(attempt, 20)) * random.uniform(0.5, 1)
        used, failed = 0, failed + 1
        try:
            async with client.post(address, json=body, allow_redirects=False) as answer:
                text = await text_within(answer)
            reply = read_reply(text, endpoint.is_reply) if answer.status == 200 else None
            used = count_tokens(reply)
        except (aiohttp.InvalidURL, aiohttp.ClientConnectorCertificateError) as problem:
            raise BadInput(f"{endpoint.url}: {type(problem).__name__} {problem}") from problem
        except (aiohttp.ClientError, TimeoutError) as problem:  # reset, silent, unreachable
            fault = " ".join(f"{type(problem).__name__} {problem}".split())
            continue
        finally:
            endpoint.pace.used(reserved, used)
        if reply:
            endpoint.seen.update(answers=1)
            return unless_withheld(reply)
        fault, asked = judge_answer(endpoint, answer, text)
        if answer.status in BUSY and endpoint.seen["answers"] > answered:
            failed, answered = 0, endpoint.seen["answers"]
        if asked:
            endpoint.pace.stop_until(time.monotonic() + asked)
            pause = max(pause, asked)
    raise AssertionError("the attempts end with a reply or an error")


async def text_within(answer: aiohttp.ClientResponse) -> str:
    """The whole reply; one that is too large, or has no end, is broken off."""
    read = bytearray()
    async for piece in answer.content.iter_any():
        read += piece
        if len(read) > LARGEST:
            raise aiohttp.ClientPayloadError(f"more than {LARGEST:,} bytes")
    return read.decode("utf-8", "replace")


def judge_answer(endpoint: EndpointClient, answer: aiohttp.ClientResponse, text: str) -> tuple[str, float]:
    """What was wrong, and how long the server asks to be left alone; raises what no other attempt mends."""
    said = " ".join((text.replace(endpoint.key, "***") if endpoint.key else text).split())[:200]  # some echo the key
    if 300 <= answer.status < 400:  # not followed: it would be given the key, and the prompts
        raise BadInput(
            f"{endpoint.url}: it sends us to {answer.headers.get('Location', 'nowhere')!r} ({answer.status})"
        )
    if answer.status in OURS:
        raise BadInput(f"{endpoint.url}: {OURS[answer.status]} ({answer.status}): {said}")
    if answer.status in PASSING:
        return f"status {answer.status}", asked_to_wait(answer.headers.get("Retry-After", ""))
    if answer.status != 200:
        raise Refused(f"status {answer.status}: {said}")
    return f"no reply to this: {said[:80]!r}", 0.0


def asked_to_wait(text: str) -> float:
    """Retry-After, in seconds or as a date."""
    try:
        seconds = float(text) if text[:1].isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return 0.0
    return min(LONGEST_ASKED, max(0.0, seconds))


def unless_withheld(reply: dict) -> dict:
    for choice in reply.get("choices", ())[:1]:
        if (ended := choice.get("finish_reason")) == "content_filter" or choice_text(choice) is None:
            raise Refused(WITHOUT_TEXT[ended])
    return reply


def choice_text(choice: dict) -> str | None:
    return choice["message"]["content"] if "message" in choice else choice["text"]


def read_reply(text: str, is_reply: Callable[[dict], bool]) -> dict | None:
    """The reply, if this is one."""
    try:
        reply = json.loads(text)
        return reply if is_reply(reply) else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def count_tokens(reply: dict | None, kind: str = "total_tokens") -> int:
    """As the server counts them; 0 where it does not say."""
    usage = (reply or {}).get("usage")
    count = usage.get(kind) if isinstance(usage, dict) else 0
    return count if isinstance(count, int) and 0 <= count < 2**31 else 0
