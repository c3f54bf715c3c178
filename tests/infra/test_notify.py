"""Notifications: what arrives, and that a webhook that fails fails nothing and is not named."""

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from infra.notify import tell
from tests.patience import STILL


def test_a_text_arrives_as_slack_takes_it():
    got = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Webhook)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    tell(f"http://127.0.0.1:{server.server_port}/secret", "tiny · demo: completed")
    thread.join(STILL)
    server.server_close()
    assert got == [("/secret", {"text": "tiny · demo: completed"})]


def test_a_webhook_that_does_not_answer_is_logged_without_its_address(caplog):
    with caplog.at_level(logging.WARNING):
        for address in ("http://127.0.0.1:9/secret", "secret", "http://secret-host.invalid/secret"):
            tell(address, "text")
    assert len(caplog.records) == 3 and "secret" not in caplog.text
