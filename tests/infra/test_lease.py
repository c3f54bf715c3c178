import json
import multiprocessing
import os
import signal
import threading
import time

import pytest

import infra.lease as room
from infra.errors import CorruptArtifact, LeaseLost, StoreUnreachable
from infra.lease import Holder, hold_lease
from infra.processes import boot_identity, process_start
from tests.patience import STILL, wait_until

fork = multiprocessing.get_context("fork")
PATH = "_leases/work.json"
TTL = 6.0  # of leases that are to be renewed, every two seconds: a busy machine may be late


def holder(**changes) -> Holder:
    fields = {"owner": "them", "host": "elsewhere", "boot": "b", "pid": 1, "started": "1", "epoch": 4}
    return Holder(**fields | {"expires": time.time() + 60} | changes)


def stored(place) -> Holder:
    return Holder.model_validate_json(place.blobs().read(PATH))


def test_the_second_waits_says_for_whom_and_comes_next(place):
    order, messages = [], []

    def second() -> None:
        with hold_lease(place.blobs(), "work", poll=0.05, on_wait=messages.append) as mine:
            order.append(("second", mine.held()))

    with hold_lease(place.blobs(), "work") as mine:
        waiting = threading.Thread(target=second, daemon=True)
        waiting.start()
        wait_until(lambda: messages)
        order.append(("first", mine.held()))
    waiting.join(STILL)
    assert order == [("first", True), ("second", True)]
    assert len(messages) == 1 and f"process {os.getpid()}" in messages[0]
    assert stored(place).epoch == 2 and not mine.held()


def test_a_killed_process_of_this_host_is_replaced_at_once(place):
    ready = fork.Event()

    def hold() -> None:
        with hold_lease(place.blobs(), "work"):
            ready.set()
            time.sleep(3600)

    child = fork.Process(target=hold)
    child.start()
    assert ready.wait(STILL)
    with hold_lease(place.blobs(), "work", poll=0.05, done=lambda: True) as other:
        assert other is None, "the holder lives, so its lease must stand"
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is not reaped yet: a zombie counts as dead
    with hold_lease(place.blobs(), "work", poll=0.05, done=lambda: True) as mine:
        assert mine and mine.held(), "a dead holder is waited for"
        assert stored(place).epoch == 2
    child.join()


def test_another_process_with_the_same_id_is_not_the_holder():
    host, here = room.socket.gethostname(), boot_identity()
    running = holder(host=host, boot=here, pid=os.getpid(), started=process_start(os.getpid()))
    assert not running.ended()
    assert running.model_copy(update={"started": "1"}).ended()
    assert not running.model_copy(update={"started": "1", "boot": "an earlier boot"}).ended()
    assert not running.model_copy(update={"started": "1", "host": "elsewhere"}).ended()


def test_another_host_is_waited_for_until_its_lease_expires(place):
    place.blobs().create(PATH, holder(ttl=1).bytes())
    expires = time.time() + 1
    with hold_lease(place.blobs(), "work", poll=0.05, done=lambda: time.time() > expires + 10) as mine:
        assert mine, "an expired lease still stands"
        assert expires - 0.1 < time.time() and mine.held() and stored(place).epoch == 5


def test_done_elsewhere_ends_the_wait(place):
    place.blobs().create(PATH, holder().bytes())
    answers = iter([False, False, True])
    with hold_lease(place.blobs(), "work", poll=0.05, done=lambda: next(answers)) as mine:
        assert mine is None
    assert stored(place).owner == "them"


def test_a_lease_outlives_its_time_by_renewal_and_is_free_at_the_end(place):
    with hold_lease(place.blobs(), "work", ttl=2) as mine:
        until = time.monotonic() + 4
        with hold_lease(place.blobs(), "work", poll=0.1, done=lambda: time.monotonic() > until) as other:
            assert other is None and mine.held()
    assert stored(place).expires == 0 and stored(place).epoch == 1


def test_a_lost_lease_is_noticed_and_the_new_holder_left_alone(place):
    with hold_lease(place.blobs(), "work", ttl=TTL) as mine:
        assert mine.held()
        place.blobs().delete(PATH)
        place.blobs().create(PATH, holder().bytes())
        wait_until(lambda: not mine.held())
    assert stored(place).owner == "them" and stored(place).expires > time.time()


def test_a_store_out_of_reach_ends_the_lease_at_its_time(place, monkeypatch):
    blobs = place.blobs()

    def unreachable(path: str) -> bytes:
        raise StoreUnreachable("gone")

    with hold_lease(blobs, "work", ttl=TTL) as mine:
        failed = []
        monkeypatch.setattr(blobs, "read", lambda path: failed.append(path) or unreachable(path))
        wait_until(lambda: failed, pause=0.01)
        assert mine.held(), "one failed renewal is not the end"
        wait_until(lambda: not mine.held())


def test_a_spoilt_lease_is_named(place):
    place.blobs().create(PATH, b"{")
    with (
        pytest.raises(CorruptArtifact, match=r"_leases/work\.json: not a valid lease"),
        hold_lease(place.blobs(), "work"),
    ):
        pass


@pytest.mark.parametrize("ahead", [1e300, float("inf"), float("nan"), 366 * 86_400, -3600], ids=str)
def test_what_the_clock_of_another_host_said_is_not_believed(place, ahead):
    """How long ago it was written, by the store's clock, says whether it still stands."""
    raw = holder(expires=0, ttl=2).bytes()
    raw = raw.replace(b'"expires":0.0', b'"expires":%s' % json.dumps(time.time() + ahead).encode())
    place.blobs().create(PATH, raw)
    began = time.monotonic()
    with hold_lease(place.blobs(), "work", poll=0.05, done=lambda: time.monotonic() > began + 15) as mine:
        assert mine and mine.held() and stored(place).epoch == 5
        assert time.monotonic() - began > 0.9


@pytest.mark.parametrize("jump", [3600, -86_400])
def test_a_clock_that_is_wrong_takes_no_live_lease_and_loses_none(place, monkeypatch, jump):
    right = time.time
    with hold_lease(place.blobs(), "work", ttl=60) as mine:
        monkeypatch.setattr(room.time, "time", lambda: right() + jump)
        with hold_lease(place.blobs(), "work", ttl=60, poll=0.05, done=lambda: True) as other:
            assert other is None
        mine.check()
        assert mine._extend() and mine.held()
    assert stored(place).expires == 0


def test_a_lease_that_nobody_took_meanwhile_is_renewed_by_a_late_holder(place):
    with hold_lease(place.blobs(), "work", ttl=60) as mine:
        mine._until = 0  # as after a pause
        assert not mine.held()
        mine.check()
        assert mine.held()


def test_a_holder_that_was_displaced_is_refused(place):
    with hold_lease(place.blobs(), "work", ttl=60) as mine:
        place.blobs().delete(PATH)
        place.blobs().create(PATH, holder().bytes())
        for until in (mine._until, 0):
            mine._until = until
            with pytest.raises(LeaseLost, match="another process has it now"):
                mine.check()
