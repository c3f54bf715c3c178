"""What is published: nothing without --push; with it the files and the card, in one commit, to a stand-in for the hub's API."""

import base64
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.chain.small import ROOT


class Hub(BaseHTTPRequestHandler):
    """Takes repositories and commits as the hub does, files within the commit; the server keeps what it got."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.server.closed:
            return self.answer({"error": "no"}, 403)
        if self.path.endswith("/api/repos/create"):
            self.server.created.append(json.loads(body))
            return self.answer({"url": f"{self.server.url}/me/small", "name": "me/small"})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            return self.answer(
                {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]}
            )
        if "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            self.server.commits.append((self.path, lines))
            return self.answer({"commitUrl": f"{self.server.url}/me/small/commit/1", "commitOid": "1" * 40})
        return self.answer({})

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.answer({"id": "me/small", "sha": "0" * 40, "siblings": []})

    def answer(self, value: dict, code: int = 200):
        raw = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *words):
        pass


@contextmanager
def hub(closed: bool = False):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.asked, server.created, server.commits, server.closed = [], [], [], closed
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()


def upload(folder: Path, url: str, **variables: str) -> subprocess.CompletedProcess:
    """In a process of its own, since the library reads its address when it is loaded."""
    code = "import sys; from pathlib import Path; from infra.hub import upload_folder; "
    code += "print(upload_folder(Path(sys.argv[1]), 'me/small', 'model', True))"
    place = {
        "HF_ENDPOINT": url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(folder.parent / "home"),
    }
    kept = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, cwd=ROOT, env={**kept, **place, **variables}, capture_output=True, text=True)


def make_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: unknown\n---\n# small\n")
    (folder / "config.json").write_text("{}")
    return folder


def test_a_folder_becomes_one_commit_of_a_private_repository(tmp_path):
    with hub() as server:
        answer = upload(make_folder(tmp_path), server.url, HF_TOKEN="secret-key")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == f"{server.url}/me/small/commit/1"
    (created,) = server.created
    assert (created["name"], created["organization"], created["visibility"]) == ("small", "me", "private")
    ((path, lines),) = server.commits
    assert path.startswith("/api/models/me/small/commit/main")
    files = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    assert files == {"README.md": b"---\nlicense: unknown\n---\n# small\n", "config.json": b"{}"}
    assert {key for _, key in server.asked} == {"Bearer secret-key"}


def test_without_a_key_nothing_is_asked(tmp_path):
    with hub() as server:
        answer = upload(make_folder(tmp_path), server.url)
    assert answer.returncode == 1 and "HF_TOKEN: is not set" in answer.stderr and server.asked == []


def test_a_hub_that_refuses_is_named(tmp_path):
    with hub(closed=True) as server:
        answer = upload(make_folder(tmp_path), server.url, HF_TOKEN="secret-key")
    assert answer.returncode == 1 and "Unavailable: model 'me/small': the hub refuses" in answer.stderr
    assert "secret-key" not in answer.stderr and server.commits == []
