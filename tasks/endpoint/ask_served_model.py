"""Asks a server which model it serves: its entry in the list of models, and its log-probs of a fixed text."""

import asyncio
import json
from collections import Counter
from dataclasses import replace

import aiohttp

from infra.errors import Unavailable
from infra.link_local import open_socket
from tasks.endpoint.client import EndpointClient, Unanswered, ask_all, text_within
from tasks.endpoint.served_model import LISTED, ServedModel

UNLISTED = {*range(300, 429), *range(430, 500), 501}  # status codes of a server that has no list of models for us
ATTEMPTS = 3
TEXT = "The first ten prime numbers are 2, 3, 5, 7, 11, 13, 17, 19, 23 and 29, and the largest of them is 29."
QUESTION = "Name an animal, in one word."  # without a certain answer, so that two models differ


def find_served_model(endpoint: EndpointClient, how: dict, known: list[ServedModel]) -> ServedModel | None:
    """Asks the server which model it serves; None if it does not list it."""
    try:
        return asyncio.run(ask_served_model(endpoint, how))
    except Unanswered as problem:
        if not known:
            return None  # the first row's request meets the same fault
        raise Unavailable(f"{endpoint.url}: did not say which model it serves: {problem}") from problem


async def ask_served_model(endpoint: EndpointClient, how: dict) -> ServedModel | None:
    entries = [entry for entry in await list_models(endpoint) if entry.get("id") == how["model"]]
    if not entries:
        return None
    listed = {field: str(entries[0][field]) for field in LISTED if entries[0].get(field) is not None}
    return ServedModel(speaks=how["speaks"], listed=listed, probe=await ask_probe(endpoint, how))


async def list_models(endpoint: EndpointClient) -> list[dict]:
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    patience = aiohttp.ClientTimeout(total=min(endpoint.timeout, 30))
    fault = ""
    limits = aiohttp.TCPConnector(socket_factory=open_socket)
    async with aiohttp.ClientSession(headers=headers, connector=limits, timeout=patience) as client:
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(min(attempt, 1) * endpoint.first_wait * 2**attempt)
            try:
                async with client.get(f"{endpoint.url.rstrip('/')}/models", allow_redirects=False) as answer:
                    text, status = await text_within(answer), answer.status
            except (aiohttp.ClientError, aiohttp.InvalidURL, TimeoutError) as problem:
                fault = " ".join(f"{type(problem).__name__} {problem}".split())
                continue
            if status == 200 or status in UNLISTED:
                return read_entries(text) if status == 200 else []
            fault = f"status {status}"
    raise Unanswered(f"{ATTEMPTS} attempts, the last: {fault}")


def read_entries(text: str) -> list[dict]:
    """The entries of a list of models; empty if it has another form."""
    try:
        entries = json.loads(text)["data"]
        return [entry for entry in entries if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


async def ask_probe(endpoint: EndpointClient, how: dict) -> dict[str, float]:
    """The model's log-probs of a fixed text, or of the first token after it; empty if the server gives none."""
    body: dict = {"model": how["model"], "temperature": 0}
    if how["speaks"] == "tokens":
        body |= {"prompt": TEXT, "echo": True, "logprobs": 1, "max_tokens": 1}
    else:
        turns = [{"role": "user", "content": QUESTION}]
        body |= {"messages": turns, "logprobs": True, "top_logprobs": 5, how["length_field"]: 1}
    once = replace(endpoint, concurrency=1, attempts=ATTEMPTS, seen=Counter())
    async for _, reply in ask_all(once, [("probe", body)]):
        if isinstance(reply, dict):
            return read_probe(reply["choices"][0])
    return {}


def read_probe(choice: dict) -> dict[str, float]:
    """Log-probs by place and token, from the form of completions or of chats."""
    try:
        given = choice["logprobs"]
        if "token_logprobs" in given:
            pairs = list(enumerate(zip(given["tokens"], given["token_logprobs"], strict=True)))[
                :-1
            ]  # without its answer
            found = {f"{place} {token}": float(value) for place, (token, value) in pairs if value is not None}
        else:
            found = {f"0 {each['token']}": float(each["logprob"]) for each in given["content"][0]["top_logprobs"]}
        return {token: round(value, 4) for token, value in found.items() if -1e6 < value <= 0}
    except (KeyError, IndexError, TypeError, ValueError):
        return {}
