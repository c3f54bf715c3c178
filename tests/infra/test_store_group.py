"""Two users of one folder store: without a group the second one reads what to do, with FUSE_STORE_GROUP both can work."""

import multiprocessing
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from infra.blobs import Blobs
from infra.errors import BadInput
from infra.lease import hold_lease
from infra.settings import settings
from infra.store import Store
from tests.infra.test_store import draft, folder_of
from tests.patience import STILL

fork = multiprocessing.get_context("fork")
GROUP, ALICE, BOB, EVE = 61_000, 61_001, 61_002, 61_003  # numbers that no account of a machine has

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two other users")


@pytest.fixture
def shared():
    """A folder that each user may enter and write; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="fuse-users-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def as_user(user: int, work, *, groups=(GROUP,), setting: str = "", umask: int = 0o022) -> str:
    """What `work` returns or raises, run by another user in a process of its own."""
    answers = fork.Queue()

    def act() -> None:
        os.setgroups(list(groups))
        os.setgid(user)
        os.setuid(user)
        os.umask(umask)
        os.environ["FUSE_STORE_GROUP"] = setting
        settings.cache_clear()
        try:
            answers.put(f"{work()}")
        except BaseException as problem:
            answers.put(f"{type(problem).__name__}: {problem}")

    child = fork.Process(target=act)
    child.start()
    answer = answers.get(timeout=STILL)
    child.join(STILL)
    return answer


def at_work(place: Path, name: str):
    """What a run does in a store: a probe, rows, a lease, an artifact; and it reads everything that is there."""

    def work() -> list[str]:
        store = Store(str(place / "store"), place / f"cache-{name}")
        store.probe()
        made = folder_of(place / f"out-{name}", {"text": name.encode()})
        store.append("rows/aa", made / "text", 1)
        with hold_lease(store.blobs, "shared", ttl=1) as held:
            fingerprint = name.encode().hex()
            store.fenced(held).publish(made, draft().model_copy(update={"fingerprint": fingerprint}))
        found = store.manifests("score_responses")
        assert [store.verify(each) for each in found] == [[] for _ in found]
        return sorted((store.fetch(each) / "text").read_text() for each in found)

    return work


def test_the_second_user_of_a_store_reads_what_to_do_and_then_can_work(shared):
    assert as_user(ALICE, at_work(shared, "alice")) == "['alice']"
    said = as_user(BOB, at_work(shared, "bob"))
    assert said.startswith(f"BadInput: {shared}/store") and "\n" not in said
    assert f"Permission denied for user {BOB}" in said and f"belongs to {ALICE}" in said
    commands = re.search("runs once: (.*)", said)
    assert commands and "FUSE_STORE_GROUP=GROUP" in said
    ask = lambda: subprocess.run(commands[1].replace("GROUP", str(GROUP)), shell=True, check=True).returncode
    assert as_user(ALICE, ask) == "0"
    shutil.rmtree(shared / "out-bob", ignore_errors=True)
    assert as_user(BOB, at_work(shared, "bob"), setting=str(GROUP)) == "['alice', 'bob']"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_two_users_of_one_group_share_a_store(shared, umask):
    assert as_user(ALICE, at_work(shared, "alice"), setting=str(GROUP), umask=umask) == "['alice']"
    assert as_user(BOB, at_work(shared, "bob"), setting=str(GROUP), umask=umask) == "['alice', 'bob']"
    assert as_user(ALICE, at_work(shared, "anna"), setting=str(GROUP), umask=umask) == "['alice', 'anna', 'bob']"
    for path in (shared / "store", *(shared / "store").rglob("*")):
        found = path.stat()
        wanted = 0o2070 if path.is_dir() else 0o040
        assert found.st_gid == GROUP and stat.S_IMODE(found.st_mode) & wanted == wanted, path
    assert [path for path in (shared / "store").rglob(".draft-*") if path.name != ".draft-lock"] == []


def test_users_that_begin_a_store_at_the_same_time_do_not_shut_each_other_out(shared):
    """Folders get the group's rights before they get their name."""
    start = time.time() + 1

    def write(user: int):
        def work() -> int:
            blobs = Blobs(str(shared / "store"))
            time.sleep(max(0, start - time.time()))
            return sum(blobs.create(f"a{number}/b/{user}", b"x") for number in range(150))

        return work

    results = fork.Queue()
    children = [
        fork.Process(target=lambda user=user: results.put(as_user(user, write(user), setting=str(GROUP))))
        for user in (ALICE, BOB)
    ]
    for child in children:
        child.start()
    assert [results.get(timeout=STILL) for _ in children] == ["150", "150"]
    for child in children:
        child.join(STILL)


def test_a_listing_with_a_folder_that_may_not_be_read_is_refused(shared):
    """Rows that are not seen would be made and paid for again."""
    as_user(ALICE, at_work(shared, "alice"), umask=0o077)
    (shared / "store").chmod(0o755)
    said = as_user(BOB, lambda: Store(str(shared / "store"), shared / "cache").parts("rows/aa"))
    assert said.startswith("BadInput") and f"Permission denied for user {BOB}" in said


def test_a_group_that_is_missing_or_not_ours_is_refused_by_name(shared, monkeypatch):
    said = as_user(EVE, at_work(shared, "eve"), groups=(), setting=str(GROUP))
    assert said.startswith("BadInput: FUSE_STORE_GROUP: ") and f"user {EVE} is not in the group" in said
    monkeypatch.setenv("FUSE_STORE_GROUP", "no-such-group")
    settings.cache_clear()
    with pytest.raises(BadInput, match="FUSE_STORE_GROUP: this machine has no group 'no-such-group'"):
        Blobs(str(shared / "store"))
    monkeypatch.undo()
    settings.cache_clear()
