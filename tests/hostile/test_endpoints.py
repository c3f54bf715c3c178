"""A server that means harm: replies without end, bombs, nests, numbers that are none. No reply of it is more than a fault."""

import asyncio
import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.endpoint import client as endpoint
from tasks.endpoint.client import EndpointClient, Unanswered, ask_all
from tasks.scores.endpoint_program import read_number
from tests.patience import STILL

WELL = b'{"choices": [{"message": {"content": "%s"}, "finish_reason": "stop"}]}'


@contextmanager
def serving(write):
    """A server whose every answer's head and body `write` gives; yields its address and how many bytes it could send."""
    sent = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            head, body = write()
            for name, value in {"Connection": "close", **head}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for piece in body:
                    self.wfile.write(piece)
                    sent.append(len(piece))
            except OSError:  # who asked has hung up
                pass
            self.close_connection = True

        def log_message(self, *_):
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
    finally:
        server.shutdown()
        server.server_close()


def asked(url: str):
    where = EndpointClient(url, attempts=2, first_wait=0.01, timeout=STILL)

    async def all_of() -> list:
        return [reply async for _, reply in ask_all(where, [("one", {"messages": []})])]

    (reply,) = asyncio.run(all_of())
    return reply


def endless():
    while True:
        yield b"a" * 65_536


BOMB = gzip.compress(bytes(400_000_000), 1)
HARM = {
    "a body without end": lambda: ({}, endless()),
    "an answer without end": lambda: ({}, iter([WELL[:40], *[b"a" * 2**20] * 100])),
    "a bomb": lambda: ({"Content-Encoding": "gzip"}, iter([BOMB])),
    "no gzip": lambda: ({"Content-Encoding": "gzip"}, iter([WELL])),
    "lists in lists": lambda: ({}, iter([b"[" * 1_000_000])),
    "a number of 5,000 digits": lambda: ({}, iter([b"9" * 5000])),
    "another charset": lambda: ({"Content-Type": "application/json; charset=none"}, iter([b"\xff\xfe\x00"])),
    "half": lambda: ({"Content-Length": "1000"}, iter([WELL])),
    "a head without end": lambda: ({"X": "a" * 100_000}, iter([WELL])),
}


@pytest.mark.parametrize("name", HARM)
def test_a_reply_that_is_none_is_a_fault_and_is_not_read_for_ever(name, monkeypatch):
    monkeypatch.setattr(endpoint, "LARGEST", 4_000_000)
    with serving(HARM[name]) as (url, sent):
        reply = asked(url)
    assert isinstance(reply, Unanswered) and "all 2 attempts failed; the last one: " in str(reply)
    assert "\n" not in str(reply) and sum(sent) < 40_000_000


def test_an_answer_of_megabytes_is_read(monkeypatch):
    with serving(lambda: ({}, iter([WELL % (b"a" * 8_000_000)]))) as (url, _):
        assert len(asked(url)["choices"][0]["message"]["content"]) == 8_000_000


@pytest.mark.parametrize(
    "value", ["0.5", "nan", True, None, [0.5], {"a": 1}, 10**400], ids=lambda value: repr(value)[:9]
)
def test_a_score_is_a_number(value):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        read_number({"data": [{"probs": [value]}]})
