"""An OpenAI-compatible endpoint on the loopback that answers as it is told: well, or busy, broken, with nonsense, not at all."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Says = Callable[[dict], dict]  # body -> content, and what else a choice holds
Manner = Callable[[str, int], str]  # request, attempt -> well | busy | broken | nonsense | nothing | refused | locked


@dataclass
class Stub:
    says: Says
    manner: Manner
    url: str = ""
    shaped: Callable[["Stub", dict], dict] | None = None  # another reply than a chat completion
    seen: Counter = field(default_factory=Counter)  # by request, whatever became of it
    answered: Counter = field(default_factory=Counter)  # by request, answered well: paid for
    tokens: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def receive(self, raw: bytes) -> tuple[str, dict]:
        body = json.loads(raw)
        name = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        with self.lock:
            attempt = self.seen[name]
            self.seen[name] += 1
        manner = self.manner(name, attempt)
        if manner == "well":
            with self.lock:
                self.answered[name] += 1
        return manner, body

    def reply(self, body: dict) -> dict:
        prompt = sum(len(turn["content"]) + 4 for turn in body["messages"]) + 5  # a token per character
        said = self.says(body)
        with self.lock:
            self.tokens += prompt
        choice = {"message": {"role": "assistant", "content": said["content"]}, "finish_reason": "stop"}
        if "top_logprobs" in said:
            choice["logprobs"] = {"content": [{"top_logprobs": said["top_logprobs"]}]}
        used = {"prompt_tokens": prompt, "completion_tokens": 1}
        return {"model": body["model"], "choices": [choice], "usage": used}


def handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            manner, body = stub.receive(self.rfile.read(int(self.headers["Content-Length"])))
            match manner:
                case "well":
                    reply = stub.shaped(stub, body) if stub.shaped else stub.reply(body)
                    self.send(200, json.dumps(reply).encode())
                case "busy":
                    self.send(429, b"slower", **{"Retry-After": "0"})
                case "broken":
                    self.send(500, b"no")
                case "nonsense":
                    self.send(200, b'{"choices": [oh')
                case "refused":
                    self.send(400, b"too long")
                case "locked":
                    self.send(401, b"who are you")
                case "nothing":
                    self.close_connection = True

        def send(self, status: int, data: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words: object) -> None:
            """Silence."""

    return Handler


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, *who: object) -> None:
        """A client that was killed is no error of ours."""


@contextmanager
def stub_endpoint(says: Says, manner: Manner = lambda request, attempt: "well") -> Iterator[Stub]:
    stub = Stub(says, manner)
    server = Server(("127.0.0.1", 0), handler(stub))
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()


def moody(request: str, attempt: int) -> str:
    """A server of which half of all first attempts fail, one way or another, and some second ones."""
    first = ("well", "well", "well", "busy", "broken", "nonsense", "nothing", "well")
    return first[int(request[attempt], 16) % 8] if attempt < 2 else "well"
