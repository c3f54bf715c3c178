"""The S3 server that `fuse up` starts: reached from this machine alone, and by nobody without a key."""

import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest

from infra.blobs import Blobs
from infra.errors import BadInput
from tests.hostile.listening import addresses
from tests.infra.seaweed import seaweed
from tests.patience import STILL

__all__ = ["seaweed"]


def test_it_listens_on_loopback_alone(seaweed):
    assert addresses(urlsplit(seaweed.endpoint).port) == {"127.0.0.1"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
@pytest.mark.parametrize("path", ["", "/artifacts", "/artifacts/x", "/new-bucket", "/artifacts?list-type=2"])
def test_nobody_gets_in_without_a_key(seaweed, method, path):
    request = urllib.request.Request(seaweed.endpoint + path, data=b"x" if method == "PUT" else None, method=method)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=STILL)
    assert refusal.value.code in (400, 403, 405)


@pytest.mark.parametrize(
    ("identity", "changes"),
    [("worker", {"secret": "wrong"}), ("nobody", {}), ("worker", {"key": ""}), ("worker", {"anon": True})],
)
def test_nobody_gets_in_with_another_key(seaweed, identity, changes):
    blobs = Blobs(f"{seaweed.url}/x", seaweed.options(identity) | changes)
    for use in (lambda: blobs.create("a", b"a"), lambda: blobs.read("a"), lambda: blobs.list("")):
        with pytest.raises(BadInput):
            use()


def test_who_may_read_may_not_write_and_a_worker_has_one_bucket(seaweed):
    with pytest.raises(BadInput):
        Blobs(f"{seaweed.url}/x", seaweed.options("viewer")).create("a", b"a")
    with pytest.raises(BadInput):
        Blobs("s3://another/x", seaweed.options("worker")).create("a", b"a")
