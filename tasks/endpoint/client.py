"""Sends many requests at once to an OpenAI-compatible endpoint: a public API or a private server.

A server's reaction is one of four kinds: an answer; a refusal of this request; a temporary fault (busy, broken, silent,
invalid reply), which is tried again with growing pauses; a permanent fault, which the user must fix.
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
from infra.link_local import open_socket
from tasks.endpoint.rate_limit import Pace

TEMPORARY = {408, 409, 425, 429, *range(500, 600)}  # proxies add codes such as 524, a time-out
BUSY = {429, 529}
PERMANENT = {
    401: "the server does not accept the key",
    402: "the account needs a payment",
    403: "the key does not permit this request",
    404: "this model or address does not exist",
    405: "the address does not accept this kind of request",
    410: "the model or address no longer exists",
}
WITHOUT_TEXT = {  # finish reasons of answers without text; another attempt would not give a text
    "content_filter": "filtered: the server's filter removed the answer",
    "length": "no text: the answer reached its length limit before its first text",
    "stop": "no text: the model ended its answer at once",
}
LARGEST = 2**26  # bytes of a decompressed reply; the longest response is much shorter
LONGEST_WAIT = 60.0  # seconds of our own pauses; a server may ask for a longer pause
LONGEST_ASKED = 900.0  # longest pause in seconds that a server may ask for


class Unanswered(Exception):
    """This request got no answer: the server refused it, or all attempts failed."""


class Refused(Unanswered):
    """The server refuses this request for good."""


def is_completion(reply: dict) -> bool:
    """True if a reply has a choice with a text, or with a reason for no text, and the server did not abort it."""
    choice = reply["choices"][0]
    text, ended = choice_text(choice), choice.get("finish_reason")
    whole = isinstance(text, str) and ended != "abort"  # vLLM sends "abort" with status 200 while it is shutting down
    return whole or (text is None and ended in WITHOUT_TEXT)


@dataclass(frozen=True)
class EndpointClient:
    url: str  # up to and including /v1, or the whole address if `path` is empty
    key: str = field(default="", repr=False)
    concurrency: int = 32
    timeout: float = 120.0
    attempts: int = 6
    first_wait: float = 0.5  # seconds before the second attempt; doubles
    path: str = "chat/completions"
    is_reply: Callable[[dict], bool] = is_completion  # False or an exception: the reply is invalid
    pace: Pace = field(default_factory=Pace)
    seen: Counter = field(default_factory=Counter)  # requests, retries, tokens


async def ask_all(
    endpoint: EndpointClient, bodies: Iterable[tuple[str, dict]]
) -> AsyncIterator[tuple[str, dict | Unanswered]]:
    """Yields each request's name with its reply or error, in order of arrival. Reads `bodies` only as needed."""
    waiting, done = iter(bodies), asyncio.Queue(2 * endpoint.concurrency)
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    limits = aiohttp.TCPConnector(limit=endpoint.concurrency, socket_factory=open_socket)
    patience = aiohttp.ClientTimeout(total=endpoint.timeout)
    async with aiohttp.ClientSession(headers=headers, connector=limits, timeout=patience) as client:

        async def work() -> None:
            try:
                for name, body in waiting:
                    await done.put((name, await answer_or_why(client, endpoint, body)))
                await done.put(None)
            except Exception as problem:  # the loop below raises it again
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
    """Returns the reply to one request, after several attempts if needed. While a busy server answers other requests, the
    count of attempts starts again, since the request is only queued."""
    pause, fault, address = 0.0, "", f"{endpoint.url.rstrip('/')}/{endpoint.path}" if endpoint.path else endpoint.url
    failed, answered = 0, endpoint.seen["answers"]
    for attempt in itertools.count():
        if failed == endpoint.attempts:
            raise Unanswered(f"all {endpoint.attempts} attempts failed; the last one: {fault}")
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
        fault, wait = judge_answer(endpoint, answer, text)
        if answer.status in BUSY and endpoint.seen["answers"] > answered:
            failed, answered = 0, endpoint.seen["answers"]
        if wait:
            endpoint.pace.stop_until(time.monotonic() + wait)
            pause = max(pause, wait)
    raise AssertionError("the attempts end with a reply or an error")


async def text_within(answer: aiohttp.ClientResponse) -> str:
    """Reads the whole reply; raises an error if it is too large."""
    read = bytearray()
    async for piece in answer.content.iter_any():
        read += piece
        if len(read) > LARGEST:
            raise aiohttp.ClientPayloadError(f"the reply has more than {LARGEST:,} bytes")
    return read.decode("utf-8", "replace")


def judge_answer(endpoint: EndpointClient, answer: aiohttp.ClientResponse, text: str) -> tuple[str, float]:
    """Returns the fault and the pause that the server asks for; raises an error if another attempt cannot help."""
    shown = " ".join((text.replace(endpoint.key, "***") if endpoint.key else text).split())[:200]  # some echo the key
    if 300 <= answer.status < 400:  # never followed: the new address would get the key and the prompts
        raise BadInput(
            f"{endpoint.url}: it redirects to {answer.headers.get('Location', 'an unknown address')!r}"
            f" ({answer.status}); set the server's own address"
        )
    if answer.status in PERMANENT:
        raise BadInput(f"{endpoint.url}: {PERMANENT[answer.status]} ({answer.status}): {shown}")
    if answer.status in TEMPORARY:
        return f"status {answer.status}", asked_to_wait(answer.headers.get("Retry-After", ""))
    if answer.status != 200:
        raise Refused(f"status {answer.status}: {shown}")
    return f"not a valid reply: {shown[:80]!r}", 0.0


def asked_to_wait(text: str) -> float:
    """The seconds of a Retry-After header, which holds seconds or a date."""
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
    """Parses a reply; None if it is invalid."""
    try:
        reply = json.loads(text)
        return reply if is_reply(reply) else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def count_tokens(reply: dict | None, kind: str = "total_tokens") -> int:
    """The server's count of tokens; 0 if it gives none."""
    usage = (reply or {}).get("usage")
    count = usage.get(kind) if isinstance(usage, dict) else 0
    return count if isinstance(count, int) and 0 <= count < 2**31 else 0
