"""What a hub does not give is told apart: a name that is wrong, and a hub that is not there. No test reaches one."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra import hub
from infra.errors import BadInput, Unavailable

COMMIT = "0123456789" * 4


def test_a_model_that_is_not_here_and_cannot_be_fetched_is_unavailable():
    with pytest.raises(Unavailable, match="model 'nobody/nothing' at 012345678901: not in the hub's cache"):
        hub.local_copy("nobody/nothing", COMMIT)


def test_a_name_that_no_hub_takes_is_refused():
    with pytest.raises(BadInput, match="model 'a/b/c' at 012345678901: "):
        hub.local_copy("a/b/c", COMMIT, weights=False)


FILES = {
    "config.json": b'{"model_type": "mistral"}',
    "tokenizer.json": b"{}",
    "model-00001-of-00001.safetensors": b"w" * 300,
    "consolidated-00001-of-00001.safetensors": b"c" * 500,
    "consolidated.safetensors.index.json": b"{}",
    "original/params.json": b"{}",
    "pytorch_model.bin": b"p" * 700,
}
ASK = """
from infra import hub
print(sorted(file.name for file in hub.local_copy("org/large", {commit!r}).iterdir()))
print(hub.describe_model("org/large", {commit!r}))
"""


class ListingHub(BaseHTTPRequestHandler):
    """A hub that lists one model and gives its files."""

    def do_GET(self):
        path = self.path.partition("?")[0]
        entry = {
            name: {"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in FILES.items()
        }
        if "/tree/" in path:
            return self.give(json.dumps([*entry.values()]).encode())
        if path.startswith("/api/"):
            listed = [{"rfilename": name, "size": len(data), "blobId": "0" * 40} for name, data in FILES.items()]
            return self.give(json.dumps({"id": "org/large", "sha": COMMIT, "siblings": listed}).encode())
        self.give(FILES[path.partition(f"/resolve/{COMMIT}/")[2]])

    do_HEAD = do_GET

    def give(self, data: bytes) -> None:
        self.send_response(200)
        for name, value in (("Content-Length", len(data)), ("ETag", f'"{hash(data):x}"'), ("X-Repo-Commit", COMMIT)):
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *words):
        pass


def test_weights_that_a_repository_holds_twice_are_downloaded_once(tmp_path):
    hub_server = ThreadingHTTPServer(("127.0.0.1", 0), ListingHub)
    threading.Thread(target=hub_server.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{hub_server.server_port}"
    changed = {"HF_ENDPOINT": place, "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    try:
        answer = subprocess.run(
            [sys.executable, "-c", ASK.format(commit=COMMIT)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **changed},
            capture_output=True,
            text=True,
        )
    finally:
        hub_server.shutdown()
    assert answer.returncode == 0, answer.stderr[-2000:]
    files, described = answer.stdout.splitlines()
    assert files == "['config.json', 'model-00001-of-00001.safetensors', 'tokenizer.json']"
    assert described == "({'model_type': 'mistral'}, 300.0)"
