import multiprocessing
import os
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.blobs import Blobs
from infra.bucket import S3Blobs, _session
from infra.errors import BadInput, StoreUnreachable
from infra.folder import FolderBlobs
from tests.patience import STILL

fork = multiprocessing.get_context("fork")


def test_an_absent_name_is_not_found_and_a_created_one_is_read_back(place):
    blobs = place.blobs()
    with pytest.raises(FileNotFoundError):
        blobs.read("a/b.json")
    assert blobs.create("a/b.json", b"one")
    assert blobs.read("a/b.json") == b"one"
    blobs.delete("a/b.json")
    blobs.delete("a/b.json")
    with pytest.raises(FileNotFoundError):
        blobs.read("a/b.json")


def test_create_keeps_the_first_value_and_knows_its_own_bytes_again(place):
    blobs = place.blobs()
    assert blobs.create("x", b"one")
    assert not blobs.create("x", b"two")
    assert blobs.create("x", b"one")
    assert blobs.read("x") == b"one"
    if not place.remote:
        assert [path.name for path in blobs.local("x").parent.iterdir()] == ["x"], "no draft stays behind"


def test_create_has_one_winner_among_eight_processes(place):
    keys = [f"race/{number}" for number in range(2 if place.remote else 30)]
    barrier, results = fork.Barrier(8), fork.Queue()

    def contend(me: int) -> None:
        blobs = place.blobs()
        blobs.list("")
        for key in keys:
            barrier.wait(STILL)
            results.put((key, me, blobs.create(key, b"%d" % me)))

    children = [fork.Process(target=contend, args=(me,), daemon=True) for me in range(8)]
    for child in children:
        child.start()
    outcome = [results.get(timeout=STILL) for _ in range(8 * len(keys))]
    for child in children:
        child.join(STILL)
    winners = {key: [me for name, me, won in outcome if won and name == key] for key in keys}
    assert {key: [int(place.blobs().read(key))] for key in keys} == winners


def test_compare_and_swap_changes_only_what_it_expects(place):
    blobs = place.blobs()
    assert not blobs.compare_and_swap("x", b"one", b"two")
    blobs.create("x", b"one")
    assert not blobs.compare_and_swap("x", b"other", b"two")
    assert blobs.compare_and_swap("x", b"one", b"two")
    assert blobs.compare_and_swap("x", b"one", b"two"), "a repeat whose first answer was lost"
    assert not blobs.compare_and_swap("x", b"one", b"three")
    assert blobs.read("x") == b"two"


def test_no_swap_is_lost_among_threads(place):
    blobs = place.blobs()
    blobs.create("count", b"0")

    def add(task: int) -> None:
        while not blobs.compare_and_swap(
            "count", now := blobs.read("count"), b"%d %d" % (int(now.split()[0]) + 1, task)
        ):
            pass

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add, range(9)))
    assert blobs.read("count").split()[0] == b"9"


def test_files_go_in_and_come_out_whole_and_equal_sizes_are_not_sent_again(place, tmp_path):
    blobs, source, target = place.blobs(), tmp_path / "in", tmp_path / "deep" / "out"
    source.write_bytes(bytes(range(256)) * 9000)
    blobs.put_file(source, "data/big")
    blobs.get_file("data/big", target)
    assert target.read_bytes() == source.read_bytes()
    assert blobs.digest("data/big")[0] == source.stat().st_size
    source.write_bytes(bytes(256) * 9000)
    blobs.put_file(source, "data/big")
    assert blobs.read("data/big")[:3] == b"\x00\x01\x02"
    with pytest.raises(FileNotFoundError):
        blobs.get_file("data/absent", target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["out"]


def test_an_interrupted_copy_leaves_no_name(tmp_path, monkeypatch):
    def interrupted(source: Path, target: Path) -> None:
        Path(target).write_bytes(source.read_bytes()[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr("infra.folder.shutil.copyfile", interrupted)
    (tmp_path / "in").write_bytes(b"six by")
    with pytest.raises(KeyboardInterrupt):
        Blobs(f"{tmp_path}/store").put_file(tmp_path / "in", "data")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_file_above_the_multipart_threshold_arrives_whole(seaweed, tmp_path, monkeypatch):
    monkeypatch.setattr("infra.bucket.PART", 5 * 2**20)
    blobs, source, target = Blobs(f"{seaweed.url}/multipart", seaweed.options()), tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"".join(number.to_bytes(8, "big") * 2**17 for number in range(12)))
    blobs.put_file(source, "big")
    blobs.get_file("big", target)
    assert blobs.list("") == {"big": 12 * 2**20}
    assert target.read_bytes() == source.read_bytes()


def test_a_listing_is_recursive_fresh_and_without_drafts(place, tmp_path):
    ours, theirs = place.blobs(), place.blobs()
    assert ours.list("") == {}
    theirs.create("a/b/c", b"123")
    theirs.create("ab", b"")
    assert ours.list("") == {"a/b/c": 3, "ab": 0}
    theirs.create("a/d", b"4")
    if not place.remote:
        (tmp_path / "store" / "a" / ".draft-0").write_bytes(b"half")
    assert ours.list("a") == {"a/b/c": 3, "a/d": 1}
    assert ours.list("absent") == {}


@pytest.mark.parametrize(
    "name", ["../x", "a/../x", "/etc/x", "a//b", "", "a/", ".", "a/\0b", "a\\..\\b", "a/.draft-1", "a\nb"]
)
def test_names_that_could_leave_the_root_are_refused(name, tmp_path):
    blobs = Blobs(str(tmp_path / "store"))
    (tmp_path / "x").write_bytes(b"outside")
    for use in (blobs.read, blobs.delete, blobs.local, blobs.digest, lambda path: blobs.list(path or "/")):
        with pytest.raises(BadInput):
            use(name)
    for use in (blobs.create, lambda path, _: blobs.put_file(tmp_path / "x", path)):
        with pytest.raises(BadInput):
            use(name, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    "url", ["", "s3://", "s3://bucket/../x", "s3://key:secret@bucket/x", "gs://bucket/x", "file://"]
)
def test_an_address_that_is_no_store_is_refused_without_repeating_it(url):
    with pytest.raises(BadInput, match="the store's address must be") as refused:
        Blobs(url)
    assert "secret" not in str(refused.value)


def test_a_sound_store_passes_the_probe_and_keeps_nothing_of_it(place):
    place.blobs().probe()
    assert place.blobs().list("") == {}


def refusal(blobs: Blobs) -> str:
    with pytest.raises(BadInput) as refused:
        blobs.probe()
    line = str(refused.value)
    assert "\n" not in line and line.startswith(blobs.url)
    return line


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(BadInput, match="the store must be a folder, and this path is not a folder"):
        Blobs(f"file://{tmp_path}/store")
    assert "Not a directory" in refusal(Blobs(f"file://{tmp_path}/store/below"))


def test_wrong_credentials_a_reader_and_a_missing_bucket_are_refused(seaweed):
    options = seaweed.options()
    assert "SignatureDoesNotMatch" in refusal(Blobs(seaweed.url, options | {"secret": "wrong"}))
    assert "InvalidAccessKeyId" in refusal(Blobs(seaweed.url, options | {"key": "stranger"}))
    assert "AccessDenied" in refusal(Blobs(f"{seaweed.url}/x", seaweed.options("viewer")))
    assert "AccessDenied" in refusal(Blobs("s3://artefacts/x", options))
    missing = Blobs("s3://artefacts/x", seaweed.options("admin"))  # an admin's first write would make the bucket
    assert "NoSuchBucket" in refusal(missing)
    with pytest.raises(BadInput, match="NoSuchBucket"):
        missing.read("not the same as an absent object")
    with pytest.raises(BadInput, match="SignatureDoesNotMatch"):
        Blobs(seaweed.url, options | {"secret": "wrong-secret"}).read("x")


def test_address_and_credentials_come_from_the_usual_variables(seaweed, monkeypatch, tmp_path):
    monkeypatch.setattr("infra.bucket._session", _session.__wrapped__)  # it remembers credentials
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint)
    assert "Unable to locate credentials" in refusal(Blobs(f"{seaweed.url}/from-environment"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "worker")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "worker-secret")
    Blobs(f"{seaweed.url}/from-environment").probe()


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        impatient = {"read_timeout": 0.3, "connect_timeout": 0.3, "retries": {"max_attempts": 1}}
        options = {"key": "k", "secret": "s", "endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        blobs = Blobs("s3://bucket", options | {"config_kwargs": impatient})
        monkeypatch.setattr(blobs._place.files, "retries", 1)
        failures = []

        def write() -> None:
            try:
                blobs.create("x", b"data")
            except StoreUnreachable as error:
                failures.append(error)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        writer.join(STILL)
        assert failures, "the write hangs: it waits for 100-continue"
    with pytest.raises(StoreUnreachable):  # not BadInput: later it may answer
        blobs.probe()


@pytest.mark.parametrize("condition", ["If-None-Match", "If-Match"])
def test_a_server_that_ignores_preconditions_is_refused(seaweed, condition):
    blobs = Blobs(f"{seaweed.url}/lying", seaweed.options())

    def forget(request, **_) -> None:
        if condition in request.headers:
            del request.headers[condition]

    blobs._place.files.connect().meta.events.register("before-sign.s3.PutObject", forget)
    assert f"ignores {condition}," in refusal(blobs)


@pytest.mark.parametrize("keeps_first", [False, True])
def test_a_folder_without_exclusive_links_is_refused(tmp_path, monkeypatch, keeps_first):
    def link(draft: Path, target: Path) -> None:
        if not (keeps_first and target.exists()):
            shutil.copyfile(draft, target)

    monkeypatch.setattr("infra.folder.os.link", link)
    assert "two runs could overwrite" in refusal(Blobs(str(tmp_path)))


def test_drafts_that_a_kill_left_go_after_a_day_and_nothing_else_does(tmp_path):
    blobs = Blobs(str(tmp_path))
    blobs.create("a/b", b"1")
    drafts = [tmp_path / "a" / f".draft-{digit * 32}" for digit in "0f"]
    for draft in drafts:
        draft.write_bytes(b"half")
    os.utime(drafts[0], (1, 1))
    os.utime(tmp_path / "a" / "b", (1, 1))
    (tmp_path / ".draft-lock").touch()
    os.utime(tmp_path / ".draft-lock", (1, 1))
    blobs.drop_uploads()
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", drafts[1].name, ".draft-lock"}


def test_both_places_have_the_same_operations():
    for operation in vars(Blobs).keys() - {"fenced", "list", "clock"}:
        assert operation.startswith("_") or (operation in vars(FolderBlobs) and operation in vars(S3Blobs)), operation
    assert Blobs(str(Path("relative"))).local("x") == Path.cwd() / "relative" / "x"
