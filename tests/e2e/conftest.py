"""One stack for all of it, and a webhook that hears what the runs tell."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.seaweed import free_ports
from infra.services import find_marked
from tests.chain.small import write_recipe
from tests.e2e.home import Home

CANARY = "canary-5f1c9e77"


class Heard(list):
    """What arrived at the webhook."""


@pytest.fixture(scope="session")
def heard() -> Iterator[Heard]:
    texts = Heard()

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    texts.port = server.server_port
    yield texts
    server.shutdown()


@pytest.fixture(scope="session")
def home(tmp_path_factory, heard) -> Iterator[Home]:
    workspace = tmp_path_factory.mktemp("home")
    ui, s3 = free_ports(2)
    home = Home(
        workspace,
        {
            "FUSE_WORKSPACE": str(workspace),
            "FUSE_UI_PORT": str(ui),
            "FUSE_S3_PORT": str(s3),
            "FUSE_WEBHOOK": f"http://127.0.0.1:{heard.port}/{CANARY}",
            "HF_TOKEN": CANARY,
        },
    )
    try:
        with ThreadPoolExecutor(2) as pool:  # of two at once one starts it, the other finds it
            answers = list(pool.map(home.fuse, ["up", "up"]))
        assert [answer.returncode for answer in answers] == [0, 0], answers
        assert all(f"http://127.0.0.1:{ui}" in answer.stdout for answer in answers)
        yield home
    finally:
        answer = home.fuse("down")
        assert answer.returncode == 0 and find_marked(home.folder) == [], answer.stderr


@pytest.fixture(scope="session")
def recipe(tmp_path_factory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"), sources=1)
