"""The S3 server is killed under a run, and later comes back: the run waits, or says that it does not answer; nothing is lost."""

import time

import pytest

from tests.chaos.kills import UNREACHABLE, Attack, redone, unbroken
from tests.chaos.server import Mortal
from tests.chaos.test_kills import dice
from tests.patience import STILL

__all__ = ["dice"]


@pytest.mark.chaos
def test_a_run_outlives_its_server(tmp_path, workplace, dice):
    server = Mortal(tmp_path / "server")
    try:
        server.ready()
        begin = lambda name: Attack(f"{server.address.url}/{name}", tmp_path / name, server.address.options())
        expected, _ = unbroken(begin("calm"))
        end = time.monotonic() + 90
        for turn in (turn for turn in range(10) if time.monotonic() < end):
            attacked = begin(f"turn-{turn}")
            running = attacked.start()
            time.sleep(dice.uniform(0, 2))
            server.kill()
            time.sleep(dice.choice((0, 2)))
            server.start()
            server.ready()
            running.join(STILL)
            assert running.exitcode in (0, UNREACHABLE), f"the run ended with {running.exitcode}"
            attacked.diary.note("stopped")
            attacked.visible()
            attacked.finish()
            assert attacked.contents() == expected
            assert redone(attacked.diary) == []
    finally:
        server.kill()
