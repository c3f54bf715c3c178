"""A proxy between us and an S3 server that does harm: for chosen requests it resets, waits, cuts bodies short, refuses.

It speaks enough HTTP/1.1 for one request after the other on a connection. A fault looks at a request (method, path with
query) and says what is to happen to it; None lets it through.
"""

import asyncio
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

from tests.patience import STILL

ERROR = "<Error><Code>{code}</Code><Message>{code}</Message><Resource>/</Resource></Error>"


@dataclass(frozen=True)
class Answer:
    """Instead of the server's; the request does not reach it."""

    status: int
    code: str


@dataclass(frozen=True)
class Reset:
    """The connection is torn down after so many bytes of the request's body, or of the answer (`reply`)."""

    after: int = 0
    reply: bool = False


@dataclass(frozen=True)
class Cut:
    """The answer's body ends after so many bytes, with a length that promised more, and the connection is closed."""

    after: int = 0


@dataclass(frozen=True)
class Delay:
    seconds: float


@dataclass(frozen=True)
class Skew:
    """The server's clock is ahead by so many seconds, as far as its answers show."""

    seconds: float

    def shifted(self, answer: bytes) -> bytes:
        def later(found: re.Match) -> bytes:
            moment = datetime.fromisoformat(found[2].decode()) + timedelta(seconds=self.seconds)
            return found[1] + moment.isoformat().encode()

        def later_header(found: re.Match) -> bytes:
            moment = parsedate_to_datetime(found[2].decode()) + timedelta(seconds=self.seconds)
            return found[1] + format_datetime(moment, usegmt=True).encode()

        answer = re.sub(rb"(?im)^((?:date|last-modified): )([^\r\n]+)", later_header, answer)
        return re.sub(rb"(<LastModified>)([0-9-]+T[0-9:]+)", later, answer)


Fault = Callable[[str, str], Answer | Reset | Cut | Delay | Skew | None]


class Proxy:
    """In a thread of its own. `fault` may be set at any time; `seen` holds every request, in order."""

    def __init__(self, target: str):
        self.host, _, port = target.removeprefix("http://").partition(":")
        self.port, self.fault, self.seen = int(port), (lambda method, path: None), []
        self.loop, started = asyncio.new_event_loop(), threading.Event()

        async def listen() -> None:
            self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
            started.set()

        def turn() -> None:
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(listen())
            self.loop.run_forever()
            self.loop.run_until_complete(self.end())
            self.loop.close()

        self.thread = threading.Thread(target=turn, daemon=True)
        self.thread.start()
        started.wait(STILL)

    def close(self) -> None:
        """Its connections end with it: what is left unfinished would be complained of at some later collection."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(STILL)

    async def end(self) -> None:
        self.server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for each in serving:
            each.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when the connection is at its end."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.seen.append((method, path))
        fault, length = self.fault(method, path), content_length(head)
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Reset) and not fault.reply:
            await reader.readexactly(min(fault.after, length))
            return reset(writer)
        body = await reader.readexactly(length)
        if isinstance(fault, Answer):
            text = ERROR.format(code=fault.code).encode() if method != "HEAD" else b""
            writer.write(f"HTTP/1.1 {fault.status} {fault.code}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
            await writer.drain()
            return True
        return await self.forward(head, body, method, fault, writer)

    async def forward(self, head: bytes, body: bytes, method: str, fault, writer: asyncio.StreamWriter) -> bool:
        """A connection to the server per request: simple, and slow enough for faults to hit."""
        reply, up = await asyncio.open_connection(self.host, self.port)
        try:
            up.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
            await up.drain()
            answer = await reply.readuntil(b"\r\n\r\n")
            data = b"" if method == "HEAD" else await reply.read()
        finally:
            up.close()
        if isinstance(fault, Reset):  # done, but the answer is lost
            writer.write((answer + data)[: fault.after])
            await writer.drain()
            return reset(writer)
        if isinstance(fault, Skew):
            answer, data = fault.shifted(answer), fault.shifted(data)
        if isinstance(fault, Cut):
            writer.write(answer + data[: fault.after])
            await writer.drain()
            return False
        writer.write(answer + data)
        await writer.drain()
        return b"connection: close" not in answer.lower()


def content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def reset(writer: asyncio.StreamWriter) -> bool:
    writer.transport.abort()
    return False


def times(count: int, method: str, part: str, fault) -> Fault:
    """`fault` for the first `count` requests of this method whose path holds `part`."""
    left = [count]

    def chosen(seen: str, path: str):
        if seen == method and part in path and left[0] > 0:
            left[0] -= 1
            return fault
        return None

    return chosen
