"""A network and a server that fail: what a retry mends is retried, the rest is said in one line with the object's name."""

import gc
from uuid import uuid4

import pytest

from infra.blobs import Blobs
from infra.errors import BadInput, StoreUnreachable
from infra.store import Store
from tests.chaos.kills import fork
from tests.chaos.proxy import Answer, Cut, Delay, Proxy, Reset, times
from tests.infra.test_store import draft, folder_of
from tests.patience import wait_until

MEGABYTE = 2**20
BUSY, SLOW = Answer(503, "ServiceUnavailable"), Answer(503, "SlowDown")


@pytest.fixture
def proxy(seaweed):
    proxy = Proxy(seaweed.endpoint)
    yield proxy
    proxy.close()


@pytest.fixture
def through(proxy, seaweed, monkeypatch):
    """A prefix of its own behind the proxy; parts of 5 MiB, so that a file of 12 MB is a multipart upload."""
    monkeypatch.setattr("infra.bucket.PART", 5 * MEGABYTE)
    return Blobs(f"{seaweed.url}/{uuid4().hex}", seaweed.options() | {"endpoint_url": proxy.url})


@pytest.fixture
def large(tmp_path):
    file = tmp_path / "large"
    file.write_bytes(b"".join(number.to_bytes(4, "big") for number in range(3_000_000)))
    return file


def at_length(*values):
    return pytest.param(*values, marks=pytest.mark.chaos)


LOST = Reset(after=9, reply=True)  # the server has done it, and its answer is lost
PASSING = [SLOW, LOST, *map(at_length, (BUSY, Answer(500, "InternalError"), Reset(), Reset(after=3), Delay(1)))]


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_a_small_write_outlives_what_passes(through, proxy, fault):
    through.list("")
    proxy.fault = times(2, "PUT", "/x", fault)
    assert through.create("x", b"some bytes")  # a lost answer looks like another writer who was first: read back
    proxy.fault = times(2, "PUT", "/x", fault)
    assert through.compare_and_swap("x", b"some bytes", b"others")
    assert through.read("x") == b"others"


@pytest.mark.parametrize("fault", [Cut(after=4), *PASSING[1:], at_length(SLOW)], ids=str)
def test_a_read_and_a_listing_outlive_what_passes(through, proxy, tmp_path, fault):
    through.create("x", b"some bytes")
    for read in (
        lambda: through.read("x"),
        lambda: through.get_file("x", tmp_path / "x") or (tmp_path / "x").read_bytes(),
    ):
        proxy.fault = times(2, "GET", "/x", fault)
        assert read() == b"some bytes"
    proxy.fault = times(2, "GET", "/x", fault)
    assert through.digest("x")[0] == 10
    proxy.fault = times(2, "GET", "list-type", fault)
    assert through.list("") == {"x": 10}


def test_a_body_that_was_cut_short_is_let_go_of(through, proxy, recwarn):
    """What is left open is complained of at some later collection, which may be inside of the compiler's."""
    through.create("x", b"some bytes")
    proxy.fault = times(2, "GET", "/x", Cut(after=4))
    gc.collect()
    recwarn.clear()
    assert through.read("x") == b"some bytes"
    gc.collect()
    assert [str(one.message) for one in recwarn if issubclass(one.category, ResourceWarning)] == []


@pytest.mark.parametrize("fault", [LOST, *map(at_length, (SLOW, Reset(after=1000)))], ids=str)
@pytest.mark.parametrize("request_part", ["partNumber=2", "uploads", "uploadId"])
def test_a_large_upload_outlives_what_passes(through, proxy, large, tmp_path, fault, request_part):
    proxy.fault = times(1, "POST" if request_part != "partNumber=2" else "PUT", request_part, fault)
    through.put_file(large, "large")
    through.get_file("large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


@pytest.mark.parametrize("fault", [Cut(after=100_000), *map(at_length, (SLOW, Reset()))], ids=str)
def test_a_large_download_outlives_what_passes(through, proxy, large, tmp_path, fault):
    through.put_file(large, "large")
    proxy.fault = times(2, "GET", "/large", fault)
    through.get_file("large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


FOR_EVER = [
    (Answer(403, "AccessDenied"), BadInput),
    at_length(Answer(400, "EntityTooLarge"), BadInput),
    at_length(Answer(507, "InsufficientStorage"), StoreUnreachable),
    at_length(BUSY, StoreUnreachable),
    at_length(Reset(), StoreUnreachable),
]


@pytest.mark.parametrize(("fault", "kind"), FOR_EVER, ids=lambda value: str(value))
@pytest.mark.parametrize("operation", ["create", "put_file", "large", "read", "get_file", "digest"])
def test_what_does_not_pass_is_said_in_one_line_that_names_the_object(
    through, proxy, large, tmp_path, operation, fault, kind
):
    small = tmp_path / "small"
    small.write_bytes(b"small")
    through.put_file(small, "data/x")
    use = {
        "create": lambda: through.create("data/y", b"y"),
        "put_file": lambda: through.put_file(small, "data/y"),
        "large": lambda: through.put_file(large, "data/y"),
        "read": lambda: through.read("data/x"),
        "get_file": lambda: through.get_file("data/x", tmp_path / "back"),
        "digest": lambda: through.digest("data/x"),
    }[operation]
    name = "data/x" if operation in ("read", "get_file", "digest") else "data/y"
    proxy.fault = lambda method, path: fault if name in path else None
    with pytest.raises(kind) as failure:
        use()
    said = str(failure.value)
    assert f"{through.url}/{name}" in said and "\n" not in said
    proxy.fault = lambda method, path: None
    assert not (tmp_path / "back").exists() and "data/y" not in through.list("")


@pytest.mark.parametrize("fault", [Answer(403, "AccessDenied"), *map(at_length, (SLOW, Reset()))], ids=str)
@pytest.mark.parametrize("request_part", ["partNumber=2", "uploadId"])
def test_a_large_upload_that_fails_leaves_no_parts_and_no_artifact(
    through, proxy, large, request_part, fault, tmp_path
):
    def chosen(method: str, path: str):
        return fault if method in ("PUT", "POST") and request_part in path else None

    store = Store(through.url, tmp_path / "cache")
    store.blobs = through
    proxy.fault = chosen
    with pytest.raises((BadInput, StoreUnreachable)):
        store.publish(folder_of(tmp_path / "out", {"a": large.read_bytes(), "b": b"b"}), draft())
    proxy.fault = lambda method, path: None
    assert store.manifest("score_responses", "abc123") is None
    assert open_uploads(through) == []
    assert store.verify(store.publish(tmp_path / "out", draft())) == []


def test_what_a_kill_left_of_an_upload_goes_after_a_day(through, proxy, seaweed, large):
    proxy.fault = times(1, "PUT", "partNumber=2", Delay(30))
    upload = lambda: Blobs(through.url, seaweed.options() | {"endpoint_url": proxy.url}).put_file(large, "large")
    child = fork.Process(target=upload)
    child.start()
    wait_until(lambda: any("partNumber=2" in path for _, path in proxy.seen))
    child.kill()
    child.join()
    assert len(open_uploads(through)) == 1
    through.drop_uploads()
    assert len(open_uploads(through)) == 1
    through.drop_uploads(older=-5)  # the server's clock may be a little ahead
    assert open_uploads(through) == []


def test_who_may_not_list_uploads_is_not_stopped_by_it(through, proxy):
    proxy.fault = times(9, "GET", "uploads", Answer(403, "AccessDenied"))
    through.drop_uploads()
    assert [path for _, path in proxy.seen if "uploads" in path]


def open_uploads(blobs: Blobs) -> list[dict]:
    bucket = blobs._place
    return bucket._call("", "call_s3", "list_multipart_uploads", Bucket=bucket.bucket, Prefix=bucket.folder).get(
        "Uploads", []
    )
