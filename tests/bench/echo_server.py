"""A server that answers every chat completion at once, in a process of its own: what is measured is its client.

python -m tests.bench.echo_server CHARACTERS prints its port and serves until its standard input ends.
"""

import asyncio
import json
import sys


class Echo(asyncio.Protocol):
    characters = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))[15:])
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        self.transport.write(reply(json.loads(rest[:length]), self.characters))


def reply(body: dict, characters: int) -> bytes:
    text = (f"{body['seed']:012x} " * (characters // 13 + 1))[:characters]
    used = {"prompt_tokens": 10, "completion_tokens": characters // 4, "total_tokens": 10 + characters // 4}
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    data = json.dumps({"model": body["model"], "choices": [choice], "usage": used}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data


async def main() -> None:
    Echo.characters = int(sys.argv[1])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
