"""SIGKILL at every commit point and at random moments: what is finished stays, nothing is torn, the end is the same.

The short form belongs to the suite; `make chaos` runs the long one. CHAOS_SEED repeats a run's choices,
CHAOS_LENGTH=0.1 makes a tenth of the kills.
"""

import os
import random
import time

import pytest

from infra.settings import settings
from tests.chaos.kills import LENGTH, redone, unbroken, unfenced

LIMIT = 90  # seconds of one loop: a busy machine makes fewer kills, and says how many
LEASE = 1.0  # seconds, where a run is paused for longer than its lease
SEED = int(os.environ.get("CHAOS_SEED", time.time_ns() % 2**32))


@pytest.fixture
def dice():
    print(f"CHAOS_SEED={SEED}")
    return random.Random(SEED)


def hold(attacked, expected: dict[str, str]) -> None:
    """All that was promised, once a run has come to its end."""
    attacked.finish()
    found = attacked.visible()
    assert {address: manifest.content for address, manifest in found.items()} == expected
    assert unfenced(attacked.diary, found) == []
    assert redone(attacked.diary) == []


def at_points(attack, dice, count: int) -> None:
    """Kills at single points, then runs whose every life ends after some more points."""
    expected, points = unbroken(attack())
    end, kills = time.monotonic() + LIMIT, 0
    for number in dice.sample(range(1, points + 1), min(count, points)):
        if time.monotonic() > end:
            break
        attacked = attack()
        assert attacked.at_point(number)
        attacked.visible()
        hold(attacked, expected)
        kills += 1
    print(f"{kills} kills at {points} points")


def lives(attack, dice, count: int) -> None:
    expected, points = unbroken(attack())
    end, kills = time.monotonic() + LIMIT, 0
    while kills < count and time.monotonic() < end:
        attacked = attack()
        while kills + attacked.kills < count and attacked.at_point(dice.randint(1, points // 2)):
            attacked.visible()
        hold(attacked, expected)
        kills += attacked.kills
    print(f"{kills} kills")


def at_moments(attack, dice, count: int) -> None:
    began = time.monotonic()
    expected, _ = unbroken(attack())
    usual, kills, end = time.monotonic() - began, 0, time.monotonic() + LIMIT
    while kills < count and time.monotonic() < end:
        attacked = attack()
        while kills + attacked.kills < count and attacked.after(dice.uniform(0, usual)):
            attacked.visible()
        hold(attacked, expected)
        kills += attacked.kills
    print(f"{kills} kills")


def pauses(attack, dice, count: int) -> None:
    """Each run is stopped for less or more than its lease while another goes on, and wakes up beside it."""
    began = time.monotonic()
    expected, _ = unbroken(attack())
    usual, end = time.monotonic() - began, time.monotonic() + LIMIT
    for made in range(count):
        if time.monotonic() > end:
            break
        attacked = attack()
        attacked.pause(dice.uniform(0, usual), dice.uniform(LEASE / 2, 3 * LEASE))
        attacked.finish()
        found = attacked.visible()
        assert {address: manifest.content for address, manifest in found.items()} == expected
        assert unfenced(attacked.diary, found) == []
        print(f"{made + 1} pauses", end="\r")


@pytest.fixture
def short_leases(monkeypatch, workplace):
    monkeypatch.setenv("FUSE_LEASE_SECONDS", str(LEASE))
    settings.cache_clear()


def test_a_run_killed_at_any_commit_point_ends_as_if_it_had_not_been(attack, dice):
    at_points(attack, dice, 4 if attack.kind == "file" else 1)
    lives(attack, dice, 8 if attack.kind == "file" else 3)


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(attack, dice):
    at_moments(attack, dice, 4 if attack.kind == "file" else 2)


def test_a_run_that_was_paused_writes_nothing_beside_its_successor(attack, dice, short_leases):
    pauses(attack, dice, 2 if attack.kind == "file" else 1)


@pytest.mark.chaos
def test_a_run_killed_at_many_commit_points(attack, dice):
    at_points(attack, dice, many(60 if attack.kind == "file" else 15))
    lives(attack, dice, many(40))


@pytest.mark.chaos
def test_a_run_killed_at_many_moments(attack, dice):
    at_moments(attack, dice, many(70 if attack.kind == "file" else 40))


@pytest.mark.chaos
def test_a_run_that_was_paused_many_times_writes_nothing_beside_its_successors(attack, dice, short_leases):
    pauses(attack, dice, many(25))


def many(count: int) -> int:
    return max(1, round(count * LENGTH))
