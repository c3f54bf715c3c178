"""Addresses at which a cloud gives a machine's keys are never asked: not by name, by number, by redirect, nor for an endpoint."""

import asyncio
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.errors import BadInput
from infra.inputs import local_files
from infra.link_local import is_link_local, open_session
from tests.hostile.said import refused

PLACES = ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"]


@pytest.mark.parametrize("place", PLACES)
def test_a_recipe_with_a_link_local_address_is_refused_by_the_plan(place, workplace, capsys):
    url = f"http://{place}/latest/meta-data/iam/security-credentials/"
    said = refused(capsys, "plan", "demo", "--set", f"prompts={{kind='file', path='{url}'}}")
    assert "prompts.path: " in said and "is a link-local address" in said
    engine = f"how.engines.roller={{kind='endpoint', urls=['http://{place}/v1'], model='m'}}"
    said = refused(capsys, "plan", "demo", "--set", engine)
    assert "how.engines.roller.urls: " in said and "is a link-local address" in said


@contextmanager
def sending_to(location: str):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", location)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/prompts.jsonl"
    finally:
        server.shutdown()
        server.server_close()


def reason_of(url: str) -> str:
    async def ask() -> None:
        async with await open_session() as client, client.get(url):
            """Never reached."""

    with pytest.raises(OSError) as failure:
        asyncio.run(ask())
    return str(failure.value)


@pytest.mark.parametrize("place", ["169.254.169.254", "0xa9fea9fe", "[fe80::1]"])
def test_no_redirect_and_no_spelling_of_a_number_leads_there(place, workplace):
    url = f"http://{place}/latest/meta-data"
    assert "is a link-local address" in reason_of(url)
    with sending_to(url) as address:
        assert "is a link-local address" in reason_of(address)
        with pytest.raises(BadInput, match="is a link-local address"):
            local_files("prompts.path", address)


def test_addresses_of_networks_and_of_this_machine_are_not_link_local():
    for host in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "2001:db8::1", "example.org", ""):
        assert not is_link_local(host)
