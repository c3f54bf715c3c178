"""Eight processes that want the same artifact at once: one result, made once, and all of them get it."""

import time

import pytest

from tasks.stage import lineage
from tests.chaos.chain import chain
from tests.chaos.kills import TALLY, redone, unbroken
from tests.chaos.test_kills import LIMIT, dice
from tests.patience import STILL

__all__ = ["dice"]
PROCESSES = 8


def race(attack, processes: int) -> None:
    expected, _ = unbroken(attack())
    attacked = attack()
    racers = [attacked.start() for _ in range(processes)]
    for racer in racers:
        racer.join(STILL)
    assert [racer.exitcode for racer in racers] == [0] * processes
    assert attacked.contents() == expected
    made = [line for line in attacked.diary.lines() if line.startswith("done")]
    assert sorted(made) == sorted(f"done {step.address}" for step in lineage(chain())), "a step was made twice"
    assert redone(attacked.diary) == []


def test_eight_processes_make_a_chain_once(attack):
    race(attack, PROCESSES)


@pytest.mark.chaos
def test_eight_processes_make_a_chain_once_again_and_again(attack):
    end = time.monotonic() + LIMIT
    for _ in (turn for turn in range(10) if time.monotonic() < end):
        race(attack, PROCESSES)


@pytest.mark.chaos
def test_eight_processes_of_which_some_are_killed_still_end_the_same(attack, dice):
    expected, points = unbroken(attack())
    end = time.monotonic() + LIMIT
    for _ in (turn for turn in range(5) if time.monotonic() < end):
        attacked = attack()
        racers = [attacked.start(dice.choice((0, dice.randint(1, points)))) for _ in range(PROCESSES)]
        for racer in racers:
            racer.join(STILL)
        assert {racer.exitcode for racer in racers} <= {0, -9}
        TALLY["racers"] += sum(racer.exitcode == -9 for racer in racers)
        attacked.finish()
        assert attacked.contents() == expected


def test_eight_processes_without_a_lease_leave_one_whole_artifact(attack, monkeypatch):
    """Content names alone keep artifacts whole: with neither leases nor fences work is wasted, and nothing worse."""
    expected, _ = unbroken(attack())
    monkeypatch.setattr("infra.lease._is_free", lambda *_: True)
    for fence in ("check", "confirm"):
        monkeypatch.setattr(f"infra.lease.Lease.{fence}", lambda lease: None)
    attacked = attack()
    racers = [attacked.start() for _ in range(PROCESSES)]
    for racer in racers:
        racer.join(STILL)
    assert [racer.exitcode for racer in racers] == [0] * PROCESSES
    assert attacked.contents() == expected
