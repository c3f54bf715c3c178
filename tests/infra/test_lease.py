import json
import multiprocessing
import os
import signal
import threading
import time

import pytest

import infra.lease as room
from infra.errors import CorruptArtifact, StoreUnreachable
from infra.lease import Holder, lease
from infra.processes import boot, started
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
        with lease(place.blobs(), "work", poll=0.05, on_wait=messages.append) as mine:
            order.append(("second", mine.held()))

    with lease(place.blobs(), "work") as mine:
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
        with lease(place.blobs(), "work"):
            ready.set()
            time.sleep(3600)

    child = fork.Process(target=hold)
    child.start()
    assert ready.wait(STILL)
    with lease(place.blobs(), "work", poll=0.05, done=lambda: True) as other:
        assert other is None, "the holder lives, so its lease must stand"
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is not reaped yet: a zombie counts as dead
    with lease(place.blobs(), "work", poll=0.05, done=lambda: True) as mine:
        assert mine and mine.held(), "a dead holder is waited for"
        assert stored(place).epoch == 2
    child.join()


def test_another_process_with_the_same_id_is_not_the_holder():
    host, here = room.socket.gethostname(), boot()
    running = holder(host=host, boot=here, pid=os.getpid(), started=started(os.getpid()))
    assert not running.gone()
    assert running.model_copy(update={"started": "1"}).gone()
    assert not running.model_copy(update={"started": "1", "boot": "an earlier boot"}).gone()
    assert not running.model_copy(update={"started": "1", "host": "elsewhere"}).gone()
    assert running.model_copy(update={"expires": time.time() - 1}).gone()


def test_another_host_is_waited_for_until_its_lease_expires(place):
    expires, late = time.time() + 1, []
    place.blobs().create(PATH, holder(expires=expires).bytes())
    done = lambda: time.time() > expires + 0.1 and (late.append(True) or len(late) > 3)
    with lease(place.blobs(), "work", poll=0.05, done=done) as mine:
        assert mine, "an expired lease still stands"
        assert expires < time.time()
        assert mine.held() and stored(place).epoch == 5


def test_done_elsewhere_ends_the_wait(place):
    place.blobs().create(PATH, holder().bytes())
    answers = iter([False, False, True])
    with lease(place.blobs(), "work", poll=0.05, done=lambda: next(answers)) as mine:
        assert mine is None
    assert stored(place).owner == "them"


def test_a_lease_outlives_its_time_by_renewal_and_is_free_at_the_end(place):
    with lease(place.blobs(), "work", ttl=TTL) as mine:
        until = time.monotonic() + 1.5 * TTL
        with lease(place.blobs(), "work", poll=0.1, done=lambda: time.monotonic() > until) as other:
            assert other is None and mine.held()
    assert stored(place).expires == 0 and stored(place).epoch == 1


def test_a_lost_lease_is_noticed_and_the_new_holder_left_alone(place):
    with lease(place.blobs(), "work", ttl=TTL) as mine:
        assert mine.held()
        place.blobs().delete(PATH)
        place.blobs().create(PATH, holder().bytes())
        wait_until(lambda: not mine.held())
    assert stored(place).owner == "them" and stored(place).expires > time.time()


def test_a_store_out_of_reach_ends_the_lease_at_its_time(place, monkeypatch):
    blobs = place.blobs()

    def unreachable(path: str) -> bytes:
        raise StoreUnreachable("gone")

    with lease(blobs, "work", ttl=TTL) as mine:
        failed = []
        monkeypatch.setattr(blobs, "read", lambda path: failed.append(path) or unreachable(path))
        wait_until(lambda: failed, pause=0.01)
        assert mine.held(), "one failed renewal is not the end"
        wait_until(lambda: not mine.held())


def test_a_spoilt_lease_is_named(place):
    place.blobs().create(PATH, b"{")
    with pytest.raises(CorruptArtifact, match=r"_leases/work\.json: not a lease"), lease(place.blobs(), "work"):
        pass


@pytest.mark.parametrize("ahead", [1e300, float("inf"), float("nan"), 366 * 86_400], ids=str)
def test_an_end_that_only_a_wrong_clock_can_have_set_is_not_waited_for(place, ahead):
    raw = (
        holder(expires=0).bytes().replace(b'"expires":0.0', b'"expires":%s' % json.dumps(time.time() + ahead).encode())
    )
    place.blobs().create(PATH, raw)
    with lease(place.blobs(), "work", poll=0.05, done=lambda: True) as mine:
        assert mine and mine.held() and stored(place).epoch == 5


def test_a_clock_that_jumps_costs_double_work_at_most(place, monkeypatch):
    """Forward: others take over, and the holder sees it. Back: its own lease stays its own, and is renewed."""
    now = time.time
    with lease(place.blobs(), "work", ttl=60) as mine:
        monkeypatch.setattr(room.time, "time", lambda: now() + 3600)
        with lease(place.blobs(), "work", ttl=60, poll=0.05) as other:
            assert other.held() and not mine._expire(now() + 60)
    monkeypatch.setattr(room.time, "time", lambda: now() - 86_400)
    with lease(place.blobs(), "work", ttl=60) as mine:
        assert mine._expire(room.time.time() + 60) and mine.held()
