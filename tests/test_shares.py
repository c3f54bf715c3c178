"""Shares of one model's rows, made by hosts that do not know of each other: none lost, none twice, nobody waits for a queue."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pandas as pd
import pytest

from infra.errors import LeaseLost, ProgramFailed, SourceFailed
from infra.lease import is_live
from infra.settings import settings
from tasks.execution import Share, ensure_artifact, make_share
from tasks.responses.engines import EndpointEngine, Vllm
from tasks.rows import turns as shares
from tasks.rows.turns import take_turn
from tests.patience import STILL, wait_until
from tests.responses.steps import ids, model, sampled
from tests.responses.stub import Stub, serving

TEXTS = tuple(f"question {number}" for number in range(24))
BOTH = (Share(number=1, of=2), Share(number=2, of=2))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(shares, "POLL", 0.02)


def step(stub: Stub, n: int = 2):
    engine = EndpointEngine(kind="endpoint", urls=(stub.url,), model="m", part_seconds=0)
    return sampled(engine, TEXTS, model(kind="served"), n=n)


def ready(workplace, step):
    """Its inputs made, as a flow has them made before it asks for the step."""
    for given in step.inputs.values():
        workplace.made(given[0])
    return step


def shared(workplace, step, share: Share):
    return make_share(step, share, workplace.store, workplace.launcher)


def rows_in(workplace, step) -> int:
    return sum(part.rows for part in workplace.store.parts(step.pool))


def test_a_prompts_id_alone_says_in_which_share_it_is():
    """By numbers that a person can check; a host with other code must come to the same."""
    prompts = pd.DataFrame({"prompt_id": [f"{number:08x}{'a' * 56}" for number in (0, 1, 2, 3, 4, 5, 2**32 - 1)]})
    assert [list(Share(number=number, of=3).rows(prompts).index) for number in (1, 2, 3)] == [[0, 3, 6], [1, 4], [2, 5]]
    assert list(Share(number=1, of=3).rows(prompts[4:]).index) == [6]  # whatever is missing: no share moves
    assert Share(number=1, of=3).rows(prompts[:0]).empty


def test_shares_make_every_row_once_and_the_next_step_makes_none(workplace):
    with serving(Stub()) as stub:
        asked = ready(workplace, step(stub))
        with ThreadPoolExecutor() as threads:
            made = list(threads.map(lambda share: shared(workplace, asked, share), BOTH))
        assert workplace.store.manifest(*asked.address.split("/")) is None
        assert sum(counts["rows"] for counts in made) == sum(counts["rows_made"] for counts in made) == 48
        assert min(counts["rows_made"] for counts in made) > 0
        counts = workplace.made(asked).counts
        assert (counts["rows_found"], counts["rows_made"], len(stub.asked)) == (48, 0, 48)
        table = workplace.table(asked, "responses.parquet")
        assert table.groupby("prompt_id").size().to_dict() == dict.fromkeys(ids(TEXTS).values(), 2)
        assert shared(workplace, asked, BOTH[0]) == {}  # nothing is left to look at


def test_the_step_makes_the_rows_that_a_dead_share_left(workplace):
    with serving(Stub()) as stub:
        asked = ready(workplace, step(stub))
        made = shared(workplace, asked, BOTH[0])["rows_made"]
        again = shared(workplace, asked, BOTH[0])
        assert (again["rows_found"], again["rows_made"]) == (made, 0) and 0 < made < 48
        counts = workplace.made(asked).counts
        assert (counts["rows_found"], counts["rows_made"], len(stub.asked)) == (made, 48 - made, 48)


def test_a_share_refused_whole_is_no_failed_source_if_others_answered(workplace):
    """As without shares: only where the pool holds nothing may the server be wrong, and not the prompts."""
    mine = {text for text, prompt in ids(TEXTS).items() if int(prompt[:8], 16) % 2 == 1}
    bad = lambda body, before: refusal() if body["messages"][0]["content"] in mine else None
    with serving(Stub(manner=bad)) as stub:
        asked = ready(workplace, step(stub))
        with pytest.raises(SourceFailed, match="refused"):
            shared(workplace, asked, BOTH[1])
        assert rows_in(workplace, asked) == 0
        shared(workplace, asked, BOTH[0])
        shared(workplace, asked, BOTH[1])
        assert workplace.made(asked).counts["refused"] == 2 * len(mine) > 0


def refusal():
    from aiohttp import web

    return web.json_response({"error": {"message": "no"}}, status=400)


def test_a_step_of_another_n_waits_for_shares_and_makes_their_rest(workplace):
    slow, go = threading.Event(), threading.Event()

    def says(body):
        slow.set()
        go.wait(STILL)
        return "yes", []

    said = []
    with serving(Stub(says=says)) as stub, ThreadPoolExecutor() as threads:
        two, three = ready(workplace, step(stub)), step(stub, n=3)
        first = threads.submit(shared, workplace, two, BOTH[0])
        assert slow.wait(STILL)
        watch = lambda step, doing, *numbers: said.append(doing)
        second = threads.submit(ensure_artifact, three, workplace.store, workplace.launcher, watch)
        try:
            wait_until(lambda: any("rows of the same pool" in doing for doing in said))
        finally:
            go.set()
        made = first.result()["rows_made"]
        assert second.result().counts["rows_found"] == made and len(stub.asked) == rows_in(workplace, two) == 72


@contextmanager
def filling(place, share: Share | None):
    with take_turn(place.store.blobs, "rows/1", share, lambda message: None, place.launcher.pause):
        yield


def may_be_together(one: Share | None, other: Share | None) -> bool:
    return one is not None and other is not None and one.of == other.of and one.number != other.number


def test_holders_of_a_pool_share_no_row_and_all_get_their_turn(workplace):
    chance, inside, wrong, met, lock = random.Random(3), [], [], set(), threading.Lock()
    kinds = [None, *(Share(number=number, of=of) for of in (2, 3) for number in range(1, of + 1))]

    def work(share: Share | None) -> None:
        with filling(workplace, share):
            with lock:
                wrong.extend((share, other) for other in inside if not may_be_together(share, other))
                met.update(str(other) for other in inside)
                inside.append(share)
            time.sleep(0.03)
            with lock:
                inside.remove(share)

    asked = [threading.Thread(target=work, args=[kind], daemon=True) for kind in chance.sample(kinds * 4, 24)]
    for one in asked:
        one.start()
    wait_until(lambda: not any(one.is_alive() for one in asked))
    assert not wrong and met  # some did work side by side


def test_a_waiting_holder_holds_nothing_that_others_wait_for(workplace):
    """Or the whole, which waits for the shares at work, and shares that wait for the whole, would wait for ever."""
    entered, told = threading.Event(), threading.Event()

    def waiting() -> None:
        with take_turn(workplace.store.blobs, "rows/1", BOTH[0], lambda message: told.set(), time.sleep):
            entered.set()

    with filling(workplace, None):
        threading.Thread(target=waiting, daemon=True).start()
        assert told.wait(STILL) and not entered.is_set()
        wait_until(lambda: not is_live(workplace.store.blobs, f"pools/rows/1/{BOTH[0].name}"))
    assert entered.wait(STILL)


@pytest.mark.parametrize(("mine", "others"), [(None, None), (None, BOTH[0]), (BOTH[0], None), (BOTH[0], BOTH[0])])
def test_who_waits_for_a_turn_leaves_with_the_run(workplace, mine, others):
    told, pause = threading.Event(), workplace.launcher.pause

    def waiting() -> None:
        with take_turn(workplace.store.blobs, "rows/1", mine, lambda message: told.set(), pause):
            raise AssertionError("it was not free")

    with ThreadPoolExecutor() as threads, filling(workplace, others):
        ended = threads.submit(waiting)
        assert told.wait(STILL)
        workplace.launcher.leave()
        with pytest.raises(ProgramFailed, match="shutting down"):
            ended.result(STILL)


def test_shares_without_a_work_pool_are_refused_in_one_line():
    with pytest.raises(ValueError, match="shares: more than one share needs a work_pool"):
        Vllm(kind="vllm", shares=4)
    shared, alone = (sampled(Vllm(kind="vllm", **how)) for how in ({"shares": 4, "work_pool": "gpu-sample"}, {}))
    assert (shared.address, shared.pool, shared.how.hosts) == (alone.address, alone.pool, 4)


@pytest.mark.parametrize(("mine", "theirs"), [(None, BOTH[0]), (BOTH[0], None), (BOTH[0], Share(number=1, of=3))])
def test_who_was_silent_for_too_long_writes_nothing_beside_another_cut(workplace, monkeypatch, mine, theirs):
    """The leases of different cuts have different names, so none of them displaces another."""
    monkeypatch.setattr("infra.lease.Lease.keep", lambda lease: None)  # as in a process that is stopped
    monkeypatch.setenv("FUSE_LEASE_SECONDS", "0.5")
    settings.cache_clear()
    turn = lambda share: take_turn(workplace.store.blobs, "rows/1", share, lambda message: None, time.sleep)
    with turn(mine) as silent:
        silent.check()
        time.sleep(0.6)
        silent.check()  # without another one it goes on
        time.sleep(0.6)
        with turn(theirs) as other:
            other.check()
        with pytest.raises(LeaseLost, match="another process made rows of its pool"):
            silent.check()
