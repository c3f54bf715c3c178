"""An OpenAI-compatible server on the loopback, for chat and for token ids, that behaves as the test tells it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.patience import STILL

Manner = Callable[[dict, int], web.Response | None]  # body, how often it was asked before -> not an answer, or None
Says = Callable[[dict], tuple[str, list[int]]]  # body -> text, token ids


def echo(body: dict) -> tuple[str, list[int]]:
    """The prompt again, with its seed, so that every row's answer is its own."""
    said = body["messages"][-1]["content"] if "messages" in body else str(len(body["prompt"]))
    return f"{said} {body['seed']}", []


@dataclass
class Stub:
    says: Says = echo
    manner: Manner = lambda body, before: None
    url: str = ""
    asked: list[dict] = field(default_factory=list)  # every request, whatever became of it
    keys: set[str | None] = field(default_factory=set)
    answered: int = 0
    entry: dict | None = None  # of the model m in the server's list of models; None: it has no list
    chances: list[float] | None = None  # the log-probs of the probe; None: the server refuses to give any
    broken_list: bool = False

    async def models(self, request: web.Request) -> web.Response:
        if self.broken_list:
            return web.Response(status=500)
        if self.entry is None:
            return web.Response(status=404)
        return web.json_response({"data": [{"id": "other"}, {"id": "m", "created": time.time(), **self.entry}]})

    async def probe(self, body: dict) -> web.Response:
        if self.chances is None:
            return web.Response(status=400, text="no log-probs here")
        words = [f"w{place}" for place in range(len(self.chances))]
        if "messages" in body:
            first = [{"token": word, "logprob": each} for word, each in zip(words, self.chances, strict=True)]
            choice = {"message": {"content": "w0"}, "logprobs": {"content": [{"top_logprobs": first}]}}
        else:
            answer = len(self.asked)  # what the model says after the text may be another word each time
            given = {"tokens": ["", *words, f"a{answer}"], "token_logprobs": [None, *self.chances, -0.5]}
            choice = {"text": "w0", "logprobs": given}
        return web.json_response({"choices": [choice | {"finish_reason": "length"}]})

    async def chat(self, request: web.Request) -> web.Response:
        return await self.complete(request, lambda text, ids: {"message": {"role": "assistant", "content": text}})

    async def tokens(self, request: web.Request) -> web.Response:
        return await self.complete(request, lambda text, ids: {"text": text, "token_ids": ids})

    async def complete(self, request: web.Request, choice: Callable) -> web.Response:
        body = await request.json()
        if body.get("logprobs"):
            return await self.probe(body)
        before = self.asked.count(body)
        self.asked.append(body)
        self.keys.add(request.headers.get("Authorization"))
        other = self.manner(body, before)
        if other is not None:
            if other.status == 200 and not other.body:
                request.transport.close()  # a connection that breaks off
            return other
        text, ids = self.says(body)
        self.answered += 1
        prompt = body.get("prompt") or [word for turn in body["messages"] for word in turn["content"].split()]
        used = {"prompt_tokens": len(prompt), "completion_tokens": len(ids) or 2}
        used["total_tokens"] = sum(used.values())
        return web.json_response(
            {"model": body["model"], "choices": [choice(text, ids) | {"finish_reason": "stop"}], "usage": used}
        )


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/v1/models", stub.models)
        app.router.add_post("/v1/chat/completions", stub.chat)
        app.router.add_post("/v1/completions", stub.tokens)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        stub.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        return runner

    def serve() -> None:
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(STILL)
    try:
        yield stub
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STILL)
